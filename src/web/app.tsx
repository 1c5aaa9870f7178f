/** The page: its head with the tabs, and the tab that is open. */
import type { JSX } from "preact";
import { CostTab } from "./cost/cost-tab.tsx";
import { LanePatterns } from "./loop/lanes.tsx";
import { LoopTab } from "./loop/loop-tab.tsx";
import { MoveTab } from "./move/move-tab.tsx";
import { ProfileTab } from "./profile/profile-tab.tsx";
import { RunTab } from "./run/run-tab.tsx";
import { go, linkProblem, setModelFile, setPatch, state } from "./state/app.ts";
import { takeImage } from "./state/image.ts";
import { TABS, type Tab } from "./state/url.ts";
import { CaseNote, Chooser } from "./ui/chooser.tsx";

const TITLES: Readonly<Record<Tab, string>> = {
	loop: "Loop",
	move: "Move it",
	run: "Run",
	profile: "Profile",
	cost: "Cost",
};

const PANELS: Readonly<Partial<Record<Tab, () => JSX.Element>>> = {
	loop: LoopTab,
	move: MoveTab,
	run: RunTab,
	profile: ProfileTab,
	cost: CostTab,
};
const SHOWN = TABS.filter((tab) => PANELS[tab] !== undefined);

function TabList() {
	const key = (event: KeyboardEvent) => {
		const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
		if (step === 0) return;
		event.preventDefault();
		const next = SHOWN[(SHOWN.indexOf(state.value.tab) + step + SHOWN.length) % SHOWN.length]!;
		go({ tab: next }, true);
		document.getElementById(`tab-${next}`)?.focus();
	};
	return (
		<div class="tabs" role="tablist" aria-label="views" onKeyDown={key}>
			{SHOWN.map((tab) => (
				<button
					key={tab}
					type="button"
					role="tab"
					id={`tab-${tab}`}
					aria-selected={state.value.tab === tab}
					aria-controls="panel"
					tabIndex={state.value.tab === tab ? 0 : -1}
					onClick={() => go({ tab }, true)}
				>
					{TITLES[tab]}
				</button>
			))}
		</div>
	);
}

/** A JSON file that was dropped: a CPU model says that it is one; the other kind is a patch. */
function takeJson(text: string): void {
	if (/"format"\s*:\s*"reenter-cpu-model"/.test(text)) void setModelFile(text);
	else {
		setPatch(text);
		go({ tab: "move" }, true);
	}
}

/** Files that are dropped: a patch, a CPU model, or a guest's image. */
function dropped(event: DragEvent): void {
	const file = event.dataTransfer?.files[0];
	if (file === undefined) return;
	event.preventDefault();
	if (/\.jsonc?$/.test(file.name)) void file.text().then(takeJson);
	else void takeImage(file);
}

addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", dropped);

/** What of the link could not be read. */
function LinkProblem() {
	if (linkProblem.value === "") return null;
	return (
		<p class="problem link-problem" role="alert">
			<span>{linkProblem.value}</span>
			<button
				class="plain"
				type="button"
				onClick={() => {
					linkProblem.value = "";
				}}
			>
				close
			</button>
		</p>
	);
}

/** The page. */
export function App() {
	const Panel = PANELS[state.value.tab] ?? LoopTab;
	return (
		<>
			<LanePatterns />
			<header>
				<h1>
					Reenter <span class="tagline">KVM’s run loop, to look at and to change</span>
				</h1>
				<TabList />
				<Chooser />
			</header>
			<main>
				<LinkProblem />
				<CaseNote />
				<div id="panel" role="tabpanel" aria-labelledby={`tab-${state.value.tab}`}>
					<Panel />
				</div>
			</main>
		</>
	);
}
