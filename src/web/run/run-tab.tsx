/** The tab "Run": real guest code crossing the loop, to be played, stepped and disturbed. */
import { signal } from "@preact/signals";
import type { Violation } from "../../check/types.ts";
import type { Recording } from "../../review/recording/recording.ts";
import { catalogue, checker, go, state, target } from "../state/app.ts";
import { Overtaken } from "../state/engine.ts";
import { takeImage } from "../state/image.ts";
import { eventsText } from "../state/schedule.ts";
import { EventsBar } from "./events-bar.tsx";
import { Disassembly, Frames, Host, Registers } from "./panels.tsx";
import { guest, isRecording, position, problem, recording } from "./run-state.ts";
import { Transport, transportKey } from "./transport.tsx";

/** The least schedules that the check has found for a tree. */
const shortest = signal<{ readonly key: string; readonly violations: readonly Violation[] | null } | null>(
	null,
);
const treeKey = () => JSON.stringify(target.value);

async function findShortest(): Promise<void> {
	const key = treeKey();
	shortest.value = { key, violations: null };
	checker.drop();
	try {
		const { check } = await checker.ask("check", { ...target.value, kinds: "all" });
		shortest.value = { key, violations: check.violations };
	} catch (error) {
		if (!(error instanceof Overtaken)) throw error;
	}
}

function Shortest() {
	const found = shortest.value?.key === treeKey() ? shortest.value : null;
	return (
		<div class="shortest">
			<button
				class="plain"
				type="button"
				disabled={found?.violations === null}
				onClick={() => void findShortest()}
			>
				{found?.violations === null ? "searching …" : "find the shortest schedules that violate"}
			</button>
			{found?.violations === null || found === null ? null : found.violations.length === 0 ? (
				<p class="good">✔ no schedule of one event violates this tree.</p>
			) : (
				<ul>
					{found.violations.map(({ property, schedule }) => (
						<li key={property}>
							<button
								class="plain"
								type="button"
								onClick={() =>
									go({ guest: "script", events: eventsText(schedule), at: 0, configuration: "" }, true)
								}
							>
								<code>{property}</code> ⚡ {eventsText(schedule) || "no event"}
							</button>
						</li>
					))}
				</ul>
			)}
		</div>
	);
}

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
						go({ guest: currentTarget.value, image: "", events: "", at: 0, configuration: "" }, true)
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

function Violations({ run }: { readonly run: Recording }) {
	if (run.violations.length === 0)
		return (
			<p class="end">
				{run.exits} exits; {run.end}.
			</p>
		);
	return (
		<div class="violation" role="alert">
			{run.violations.map(({ property, detail, callStack, frame }) => (
				<p key={property}>
					<button class="plain" type="button" onClick={() => go({ at: frame })}>
						✘ {property}
					</button>{" "}
					{detail}
					{callStack.length === 0 ? null : (
						<span class="dim">
							{" "}
							in <code>{callStack.join(" ← ")}</code>
						</span>
					)}
				</p>
			))}
		</div>
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
