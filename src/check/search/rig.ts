/**
 * A machine that searches run on, with what saves, hashes and watches it. To make one takes longer than many a search, so a
 * thread keeps the last one: another tree under which the machine starts the same begins on it, from how it was at first.
 */
import { startsAlike } from "../../kvm/flow/same-program.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { piDesc } from "../../kvm/vmx/posted-intr.ts";
import { configurationName } from "../configuration.ts";
import { type RunSetup, Subject } from "../subject.ts";
import { type TableWords, TableWatch, snapshotRules } from "./rules.ts";
import { Snapshotter } from "./snapshot.ts";

/** Blocks of a run without events, beyond which it is not followed. */
const BLOCKS_MAX = 20_000;

export class Rig {
	readonly subject: Subject;
	readonly states: Snapshotter;
	private setup: RunSetup;
	/** Words of KVM's tables that are saved. */
	private readonly tables: readonly TableWords[];
	private readonly watch: TableWatch;
	/** Memory that is not saved has changed. */
	private spoilt = false;

	/** @param tables words of KVM's tables that are saved besides those that a run without events changes */
	constructor(setup: RunSetup, tables: readonly TableWords[]) {
		this.setup = setup;
		this.tables = [...changedTables(setup), ...tables];
		this.subject = new Subject(setup);
		this.states = new Snapshotter(this.subject.roots, snapshotRules(this.subject, this.tables));
		this.watch = new TableWatch(this.subject.machine);
	}

	/** Whether a machine for this would be the same but for its program, and nobody has the hardware. */
	fits({ program, model, configuration, guest = "script" }: RunSetup): boolean {
		const own = this.setup;
		return (
			!this.spoilt &&
			this.subject.isIntact &&
			model === own.model &&
			guest === (own.guest ?? "script") &&
			// A second vCPU has run when a search begins.
			configuration.vcpus === "1" &&
			configurationName(configuration) === configurationName(own.configuration) &&
			startsAlike(program, own.program)
		);
	}

	/** Begins anew with another program that fits. */
	restart(setup: RunSetup): void {
		this.setup = setup;
		this.states.restart();
		this.subject.restart(setup.program);
	}

	/** @throws UnsavedTables if runs have changed tables that were not saved: then the machine is not what it was */
	assertTables(): void {
		this.spoilt = true;
		this.watch.assertKnown(this.tables);
		this.spoilt = false;
	}
}

let kept: Rig | null = null;

/**
 * The machine for a search, as it is at first. It is the caller's until the next call on this thread.
 * @param tables words of KVM's tables that earlier tries of the search found to change, besides what a run without events changes
 */
export function rigFor(setup: RunSetup, tables: readonly TableWords[]): Rig {
	if (kept !== null && tables.length === 0 && kept.fits(setup)) kept.restart(setup);
	else kept = new Rig(setup, tables);
	return kept;
}

/** Words of KVM's tables that a run changes, be it that guest memory is unmapped in it. */
function changedTables(setup: RunSetup): readonly TableWords[] {
	const subject = new Subject(setup);
	const watch = new TableWatch(subject.machine);
	for (let blocks = 0; blocks < BLOCKS_MAX && subject.runBlock(); blocks++);
	subject.detach();
	const { vm } = subject.machine;
	if (vm.vendor !== "tdx") vm.mmu.clear();
	const apics = vm.vcpus.flatMap(apicWords);
	const known = ({ first }: TableWords) =>
		apics.some((run) => first >= run.first && first < run.first + run.count);
	return [...watch.changed().filter((run) => !known(run)), ...apics];
}

/** The virtual-APIC page's registers and the posted-interrupt descriptor: any vector may come in a run. */
function apicWords(vcpu: Vcpu): TableWords[] {
	const pageHpa = vcpu.vmx?.apicv?.pageHpa ?? vcpu.tdx?.td.virtualApicHpa;
	const posted = piDesc(vcpu);
	if (pageHpa === undefined || posted === null) return [];
	return [
		{ first: pageHpa >> 2, count: 256 },
		{ first: posted.hpa >> 2, count: 16 },
	];
}
