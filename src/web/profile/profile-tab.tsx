/** The tab "Profile": what perf top would show of a workload, its flame graph, and why a symbol is there. */
import { computed, effect, signal } from "@preact/signals";
import type { FlameBox, FlameLayout } from "../../profile/flame.ts";
import { besideTarget, catalogue, engine, go, state, target } from "../state/app.ts";
import { cycles } from "../ui/format.ts";
import type { ProfileView, Target } from "../worker/api.ts";

const views = signal<ReadonlyMap<string, ProfileView | Error>>(new Map());
const asked = new Set<string>();

/** The workload that is chosen; a guest of the tab "Run", or one that the vendor does not have, gives way to the usual one. */
const workload = computed(() => {
	const { guest, vendor } = state.value;
	const usual = vendor === "tdx" ? "td-vmcall" : "invd";
	const known = catalogue.value;
	const own = known?.workloads.find(({ name }) => name === guest);
	if (own !== undefined) return own.vendors.includes(vendor) ? guest : usual;
	const isOfRun =
		guest === "script" || guest.startsWith("file:") || known?.guests.some(({ name }) => name === guest);
	return guest === "" || isOfRun === true ? usual : guest;
});
const sides = computed<readonly Target[]>(() =>
	besideTarget.value === null ? [target.value] : [target.value, besideTarget.value],
);
const keyOf = (of: Target) => JSON.stringify([of, workload.value]);

effect(() => {
	if (state.value.tab !== "profile") return;
	for (const of of sides.value) {
		const key = keyOf(of);
		if (asked.has(key)) continue;
		asked.add(key);
		const keep = (value: ProfileView | Error) => {
			views.value = new Map(views.value).set(key, value);
		};
		engine.ask("profile", { ...of, workload: workload.value }).then(keep, keep);
	}
});

/** Height of a box of the flame graph in pixels. */
const BOX = 19;

/** Colours by what a frame is: the guest's, the processor's own, KVM's, all others. */
function classOf(name: string): string {
	if (name === "[guest]") return "flame-guest";
	if (name.startsWith("[")) return "flame-hardware";
	return /^(kvm|vcpu|vmx|svm|tdx|vt|__vmx|__svm|handle)_/.test(name) ? "flame-kvm" : "flame-other";
}

/** The box that a key leads to: left and right along a row, up to what is called, down to the caller. */
function boxBeside(boxes: readonly FlameBox[], from: FlameBox, key: string): FlameBox | undefined {
	const middle = from.left + from.width / 2;
	const row = (depth: number) => boxes.filter((one) => one.depth === depth).sort((a, b) => a.left - b.left);
	if (key === "ArrowRight") return row(from.depth).find(({ left }) => left > from.left);
	if (key === "ArrowLeft") return row(from.depth).findLast(({ left }) => left < from.left);
	if (key === "ArrowUp")
		return row(from.depth + 1).find(({ left }) => left >= from.left && left < from.left + from.width);
	if (key === "ArrowDown")
		return row(from.depth - 1).find(({ left, width }) => left <= middle && middle <= left + width);
	return undefined;
}

function Flame({ layout, label }: { readonly layout: FlameLayout; readonly label: string }) {
	const symbol = state.value.step;
	const walk = (event: KeyboardEvent) => {
		const id = (event.target as HTMLElement).dataset.node;
		const from = layout.boxes.find(({ node }) => String(node) === id);
		const to = from === undefined ? undefined : boxBeside(layout.boxes, from, event.key);
		if (to === undefined) return;
		event.preventDefault();
		const frame = event.currentTarget as HTMLElement;
		frame.querySelector<HTMLElement>(`[data-node="${to.node}"]`)?.focus();
	};
	const box = ({ node, name, depth, left, width, total }: FlameBox) => (
		<button
			key={node}
			type="button"
			tabIndex={depth === 0 ? 0 : -1}
			data-node={node}
			class={`flame-box ${classOf(name)} ${name === symbol ? "is-chosen" : ""}`}
			style={{
				left: `${left * 100}%`,
				width: `${width * 100}%`,
				bottom: `${depth * BOX}px`,
			}}
			title={`${name}: ${cycles(total)} cycles, ${((100 * total) / layout.total).toFixed(1)} %`}
			onClick={() => go({ step: name })}
		>
			{width > 0.03 ? name : ""}
		</button>
	);
	return (
		<fieldset
			class="flame"
			aria-label={`${label}, arrow keys walk`}
			onKeyDown={walk}
			style={{ height: `${layout.depth * BOX}px` }}
		>
			{layout.boxes.map(box)}
		</fieldset>
	);
}

function Top({ view, base }: { readonly view: ProfileView; readonly base: ProfileView | null }) {
	const before = new Map(base?.rows.map((row) => [row.symbol, row.overheadPercent]) ?? []);
	const most = Math.max(1, ...view.rows.map(({ overheadPercent }) => overheadPercent));
	return (
		<table class="top">
			<caption>
				{view.tree}: samples of the host in {view.exits} exits
			</caption>
			<thead>
				<tr>
					<th scope="col">Overhead</th>
					{base === null ? null : <th scope="col">against</th>}
					<th scope="col">Symbol</th>
				</tr>
			</thead>
			<tbody>
				{view.rows.map(({ symbol, overheadPercent, mode }) => {
					const delta = overheadPercent - (before.get(symbol) ?? 0);
					return (
						<tr key={symbol} class={symbol === state.value.step ? "is-chosen" : ""}>
							<td class="figure">
								<span
									class="share"
									aria-hidden="true"
									style={{ width: `${(overheadPercent / most) * 56}px` }}
								/>
								{overheadPercent.toFixed(2)}%
							</td>
							{base === null ? null : (
								<td class="figure dim">
									{before.has(symbol) ? `${delta >= 0 ? "+" : "−"}${Math.abs(delta).toFixed(2)}` : "new"}
								</td>
							)}
							<td>
								<button class="link" type="button" onClick={() => go({ step: symbol })}>
									[{mode}] {symbol}
								</button>
							</td>
						</tr>
					);
				})}
			</tbody>
		</table>
	);
}

/** The reasons of all trees that have the symbol. */
function Reason({ views }: { readonly views: readonly ProfileView[] }) {
	const { step } = state.value;
	const having = views.filter(({ reasons }) => reasons[step] !== undefined);
	return (
		<section class="reason" aria-label="why a symbol is there" aria-live="polite">
			<h2>{having.length === 0 ? "Why is a symbol there?" : `Why ${step} is there`}</h2>
			{having.length === 0 ? (
				<p class="dim">Choose a symbol, of the table or of the flame graph.</p>
			) : (
				having.map(({ tree, reasons }) => (
					<div key={tree}>
						{views.length === 1 ? null : <h3>{tree}</h3>}
						<pre>{reasons[step]}</pre>
					</div>
				))
			)}
		</section>
	);
}

function WorkloadSelect() {
	const known =
		catalogue.value?.workloads.filter(({ vendors }) => vendors.includes(state.value.vendor)) ?? [];
	return (
		<label class="field">
			<span>workload</span>
			<select
				value={workload.value}
				onChange={({ currentTarget }) => go({ guest: currentTarget.value, step: "" }, true)}
			>
				{known.map(({ name, label }) => (
					<option key={name} value={name}>
						{name}: {label}
					</option>
				))}
			</select>
		</label>
	);
}

/** The tab. */
export function ProfileTab() {
	const shown = sides.value.map((of) => views.value.get(keyOf(of)));
	const failed = shown.find((view) => view instanceof Error);
	const ready = shown.filter((view) => view !== undefined && !(view instanceof Error)) as ProfileView[];
	return (
		<>
			<div class="toolbar">
				<WorkloadSelect />
				<span class="dim" role="status">
					{ready.length < shown.length && failed === undefined
						? "profiling …"
						: `one sample in ${ready[0]?.periodCycles ?? 0} cycles, as perf top: with the skid of an NMI`}
				</span>
			</div>
			{failed instanceof Error ? (
				<p class="problem" role="alert">
					{failed.message}
				</p>
			) : null}
			<div class="profile-panels">
				<div class="tops">
					{ready.map((view, at) => (
						<Top key={`${view.tree} ${at}`} view={view} base={at === 0 ? null : ready[0]!} />
					))}
				</div>
				<div>
					{ready.map((view, at) => (
						<section key={`${view.tree} ${at}`} aria-label={`flame graph of ${view.tree}`}>
							<h2>
								{view.tree}{" "}
								<span class="dim">cycles, {cycles(view.flame.total / Math.max(1, view.exits))} an exit</span>
							</h2>
							<Flame layout={view.flame} label={`flame graph of ${view.tree}`} />
						</section>
					))}
					{ready.length === 0 ? null : <Reason views={ready} />}
				</div>
			</div>
		</>
	);
}
