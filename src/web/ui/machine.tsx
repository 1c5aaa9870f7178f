/** The machine that everything runs on: its CPU model, and what of it and of the guest is set otherwise than usual. */
import { catalogue, go, machine, MODEL_FILE, modelText, setModelFile, state } from "../state/app.ts";
import type { MachineView } from "../worker/api.ts";

/** `xcr0=host,pke=off` by factor. */
export function readFactors(text: string): Map<string, string> {
	const parts = text === "" || text === "default" ? [] : text.split(",");
	return new Map(parts.map((part) => part.split("=") as [string, string]));
}

/** Writes what `readFactors` reads. */
export function writeFactors(factors: ReadonlyMap<string, string>): string {
	return [...factors].map(([factor, value]) => `${factor}=${value}`).join(",");
}

/** Sets a factor; "" leaves it as usual. What was dropped into a run is at its place no more, and is kept nevertheless. */
function setFactor(factor: string, value: string): void {
	const next = readFactors(state.value.configuration);
	if (value === "") next.delete(factor);
	else next.set(factor, value);
	go({ configuration: writeFactors(next), at: 0 }, true);
}

const CHOSEN_FILE = "chosen file";

/** The CPU model: those of the vendor, or a file. */
function CpuSelect() {
	const { cpu, vendor } = state.value;
	const models = catalogue.value?.models.filter(({ vendors }) => vendors.includes(vendor)) ?? [];
	const usual = models[0]?.name ?? "";
	const isFile = cpu === MODEL_FILE;
	const now = isFile ? CHOSEN_FILE : models.some(({ name }) => name === cpu) ? cpu : cpu === "" ? usual : cpu;
	return (
		<label class="field" title={machine.value?.title}>
			<span>CPU</span>
			<select
				value={now}
				onChange={({ currentTarget: { value } }) => {
					if (value !== CHOSEN_FILE) go({ cpu: value === usual ? "" : value, model: "" }, true);
				}}
			>
				{models.map(({ name }) => (
					<option key={name} value={name}>
						{name}
					</option>
				))}
				{isFile ? <option value={CHOSEN_FILE}>{fileName()}</option> : null}
				{!isFile && models.length > 0 && !models.some(({ name }) => name === now) ? (
					<option value={now}>{now}</option>
				) : null}
			</select>
		</label>
	);
}

/** The name that the model file gives itself. */
function fileName(): string {
	const name = /"name"\s*:\s*"([^"]*)"/.exec(modelText.value)?.[1];
	return `${name ?? "model"} (file)`;
}

/** Factors of the setting that the machine does not have: they are left out, and said. */
export function Without({ factors }: { readonly factors: readonly string[] }) {
	if (factors.length === 0) return null;
	return <span class="dim"> (without {factors.join(", ")}, which is not there)</span>;
}

/** What a factor is when it is not set, where that is not the first of its values. */
const USUAL: Readonly<Record<string, Readonly<Record<string, string>>>> = {
	cost: { pke: "off" },
	loop: { xfd: "own", debugRegs: "used" },
};

function FactorSelect({ factor, title, values }: MachineView["factors"][number]) {
	const { tab, configuration } = state.value;
	const set = readFactors(configuration).get(factor) ?? "";
	const usual = USUAL[tab]?.[factor] ?? values[0]!;
	return (
		<label class={`factor ${set === "" ? "" : "is-set"}`}>
			<span>
				{title} <code>{factor}</code>
			</span>
			<select value={set} onChange={({ currentTarget }) => setFactor(factor, currentTarget.value)}>
				<option value="">{usual} (usual)</option>
				{values
					.filter((value) => value !== usual)
					.map((value) => (
						<option key={value} value={value}>
							{value}
						</option>
					))}
				{set === usual ? <option value={set}>{set}</option> : null}
			</select>
		</label>
	);
}

/** What the configuration means in a tab; "" where it means nothing. */
const MEANING = {
	loop: "The bands and the step's ops are of a run of the check's guest under it.",
	move: "The verdicts are of this one configuration. A factor that a vendor does not have is left out there.",
	run: "Host and guest are set up so before the first KVM_RUN.",
	profile: "",
	cost: "Each changes what it names in the guest that the mails measured: XCR0 unlike the host's, PKE clear.",
} as const;

/** Closes the panel by Escape, and by a click or focus elsewhere. */
function closer(details: HTMLDetailsElement | null): void {
	if (details === null || details.dataset.closes !== undefined) return;
	details.dataset.closes = "";
	const away = ({ target: to }: Event) => {
		if (details.open && to instanceof Node && !details.contains(to)) details.open = false;
	};
	addEventListener("pointerdown", away);
	addEventListener("focusin", away);
	details.addEventListener("keydown", ({ key }) => {
		if (key !== "Escape" || !details.open) return;
		details.open = false;
		details.querySelector("summary")?.focus();
	});
}

/** The controls: a button that says what is set, and a panel below it. */
export function MachineChooser() {
	const { tab, configuration } = state.value;
	const set = readFactors(configuration);
	const factors = machine.value?.factors.filter(({ isInCost }) => tab !== "cost" || isInCost) ?? [];
	const hasMeaning = MEANING[tab] !== "";
	const name = [machine.value?.cpu ?? "CPU", ...(set.size === 0 ? [] : [writeFactors(set)])].join(", ");
	return (
		<details class={`machine ${set.size > 0 || state.value.cpu !== "" ? "is-set" : ""}`} ref={closer}>
			<summary title={`${name}: CPU model and configuration`}>
				<span class="offscreen">CPU model and configuration: </span>
				<span class="machine-name">{name}</span>
			</summary>
			<div class="machine-panel">
				<CpuSelect />
				<p class="dim">
					{hasMeaning
						? MEANING[tab]
						: "A workload sets its guest up by itself: the configuration has no part in a profile."}
				</p>
				{hasMeaning ? factors.map((one) => <FactorSelect key={one.factor} {...one} />) : null}
				<div class="buttons">
					<button
						class="plain"
						type="button"
						disabled={set.size === 0}
						onClick={() => go({ configuration: "" }, true)}
					>
						all as usual
					</button>
					<label class="plain-file">
						open a CPU model file
						<input
							type="file"
							accept=".json"
							onChange={({ currentTarget }) => {
								void currentTarget.files?.[0]?.text().then(setModelFile);
							}}
						/>
					</label>
				</div>
				<p class="dim">
					<code>reenter measure --fit</code> makes a model file of what it measures on a real computer. It can
					be dropped on the page, too.
				</p>
			</div>
		</details>
	);
}
