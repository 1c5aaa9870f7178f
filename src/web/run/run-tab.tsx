/** The tab "Run": real guest code crossing the loop, to be played, stepped and disturbed. */
import { catalogue, go, state } from "../state/app.ts";
import { takeImage } from "../state/image.ts";
import { Difference } from "./difference.tsx";
import { EventsBar } from "./events-bar.tsx";
import { Disassembly, Frames, Host, Registers } from "./panels.tsx";
import { guest, isRecording, position, problem, recording } from "./run-state.ts";
import { Transport, transportKey } from "./transport.tsx";
import { Shortest, Violations } from "./violations.tsx";

function GuestSelect() {
	const { vendor } = state.value;
	const now = guest.value;
	const programs = catalogue.value?.guests.filter(({ vendors }) => vendors.includes(vendor)) ?? [];
	return (
		<>
			<label class="field">
				<span>guest</span>
				<select
					value={now}
					onChange={({ currentTarget }) =>
						go({ guest: currentTarget.value, image: "", events: "", at: 0 }, true)
					}
				>
					<option value="script">script: what the check runs</option>
					{now.startsWith("file:") ? <option value={now}>{now.slice(5)}</option> : null}
					{programs.map(({ name, description }) => (
						<option key={name} value={name}>
							{name}: {description}
						</option>
					))}
				</select>
			</label>
			<label class="plain-file">
				or drop an image
				<input
					type="file"
					onChange={({ currentTarget }) => {
						const file = currentTarget.files?.[0];
						if (file !== undefined) void takeImage(file);
					}}
				/>
			</label>
		</>
	);
}

/** The tab. */
export function RunTab() {
	const run = recording.value;
	const at = position.value;
	return (
		<div class="run">
			<div class="toolbar">
				<div class="run-choice">
					<GuestSelect />
					{run === null ? null : <EventsBar run={run} />}
				</div>
				<span class="dim" role="status">
					{isRecording.value ? "running …" : ""}
				</span>
			</div>
			{problem.value === "" ? null : (
				<p class="problem" role="alert">
					{problem.value}
				</p>
			)}
			{run === null ? (
				isRecording.value ? (
					<p class="waiting">The engine runs the guest …</p>
				) : null
			) : (
				<>
					<Transport run={run} />
					<Violations run={run} />
					<Difference run={run} at={at} />
					<div class="run-panels">
						<Frames
							run={run}
							at={at}
							onKeyDown={(event) => {
								if (transportKey(event, run)) event.preventDefault();
							}}
						/>
						<div class="guest-panel">
							<Disassembly run={run} at={at} />
							<Registers run={run} at={at} />
						</div>
						<div>
							<Host run={run} at={at} />
							<Shortest />
						</div>
					</div>
				</>
			)}
		</div>
	);
}
