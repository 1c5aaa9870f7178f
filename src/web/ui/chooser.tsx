/** The controls above every tab: the tree, the tree beside it, the vendor. */
import { catalogue, go, state } from "../state/app.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import { MachineChooser } from "./machine.tsx";

const VENDORS: readonly (readonly [Vendor, string, string])[] = [
	["vmx", "VMX", "Intel"],
	["svm", "SVM", "AMD"],
	["tdx", "TDX", "Intel, trust domains"],
];

/** A choice among the trees. */
function TreeSelect({
	label,
	value,
	none,
	onChange,
}: {
	readonly label: string;
	readonly value: string;
	/** What choosing none is called; absent: one must be chosen. */
	readonly none?: string;
	readonly onChange: (tree: string) => void;
}) {
	const known = catalogue.value;
	const names = [
		...(known?.trees.map(({ name }) => name) ?? []),
		...(known?.cases.map(({ name }) => name) ?? []),
	];
	return (
		<label class="field">
			<span>{label}</span>
			<select value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
				{none === undefined ? null : <option value="">{none}</option>}
				{names.includes(value) || value === "" ? null : <option value={value}>{value}</option>}
				<optgroup label="trees">
					{known?.trees.map(({ name }) => (
						<option key={name} value={name}>
							{name}
						</option>
					))}
				</optgroup>
				<optgroup label="bugs of the past">
					{known?.cases.map(({ name }) => (
						<option key={name} value={name}>
							{name}
						</option>
					))}
				</optgroup>
			</select>
		</label>
	);
}

/** Goes to a tree; to one of the casebook on a vendor and under the configuration on which its bug shows. */
function chooseTree(name: string): void {
	const now = state.value;
	const chosen = catalogue.value?.cases.find((one) => one.name === name);
	const vendor =
		chosen === undefined || chosen.vendors.includes(now.vendor) ? now.vendor : chosen.vendors[0]!;
	const configuration = chosen?.configuration || now.configuration;
	go({ tree: name, step: "", vendor, configuration }, true);
}

/** Of a tree of the casebook: its bug, and where it shows. */
export function CaseNote() {
	const { tree, vendor, configuration } = state.value;
	const found = catalogue.value?.cases.find(({ name }) => name === tree);
	if (found === undefined) return null;
	const isThere = found.vendors.includes(vendor) && configuration === found.configuration;
	return (
		<p class="case-note">
			<b>{found.isFixed ? "fixed" : "a bug of the past"}</b>: {found.title}. It shows on{" "}
			{found.vendors.join(", ")}
			{found.configuration === "" ? "" : ` with ${found.configuration}`}
			{found.eventsMax > 1 ? `, by ${found.eventsMax} events: this page looks at one` : ""}.{" "}
			{isThere ? null : (
				<button class="link" type="button" onClick={() => chooseTree(tree)}>
					set that
				</button>
			)}
		</p>
	);
}

/** The controls. */
export function Chooser() {
	const { tree, with: other, vendor, tab } = state.value;
	return (
		<div class="chooser">
			<TreeSelect label="tree" value={tree} onChange={chooseTree} />
			{tab === "move" || tab === "run" ? null : (
				<TreeSelect
					label="beside"
					value={other}
					none="nothing"
					onChange={(name) => go({ with: name }, true)}
				/>
			)}
			<fieldset class="segments">
				<legend class="offscreen">vendor</legend>
				{VENDORS.map(([value, short, title]) => (
					<label key={value} title={title}>
						<input
							type="radio"
							name="vendor"
							value={value}
							checked={vendor === value}
							onChange={() => go({ vendor: value, step: "" }, true)}
						/>
						<span>{short}</span>
					</label>
				))}
			</fieldset>
			<MachineChooser />
		</div>
	);
}
