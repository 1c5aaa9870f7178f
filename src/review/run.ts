/** Runs a guest image that a user gave: `reenter run`. */
import { BackendVmm } from "../backends/vmm.ts";
import { type Image, ImageError } from "../guests/image.ts";
import { loadImage } from "../guests/load.ts";
import { applyGuestCpu, parseGuestCpu } from "../kvm/api/guest-cpu.ts";
import { createMachine } from "../kvm/api/kvm.ts";
import { Vmm, type VmmResult, guestRamBytesFor, hostRamBytesFor } from "../kvm/api/vmm.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { KvmSystem } from "../uapi/api.ts";
import { VERSION } from "../check/token.ts";
import { treeHash } from "../kvm/flow/fingerprint.ts";
import { machineGraph } from "../kvm/snapshot/machine-graph.ts";
import {
	SnapshotError,
	hashText,
	restoreSnapshot,
	type SnapshotHeader,
	snapshotHeader,
	writeSnapshot,
} from "../kvm/snapshot/snapshot.ts";
import { type Saved, savedIn } from "./saved.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";

/** Guest memory that one machine is given at most. */
export const RAM_BYTES_MAX = 2 ** 30;

export interface RunOptions {
	readonly bytes: Uint8Array;
	/** For messages and as argv[0] of a multiboot guest. */
	readonly fileName: string;
	readonly tree: Tree;
	readonly model: CpuModel;
	readonly vendor: Vendor;
	/** The guest's arguments; a Linux kernel's command line, by default one that names the serial port as its console. */
	readonly append?: string;
	/** Initial RAM disk of a Linux kernel. */
	readonly initrd?: Uint8Array;
	/** Guest instructions after which the run ends; Infinity for none. */
	readonly budgetInstructions: number;
	/** Virtual CPUs, each on a physical CPU of its own. Default 1. */
	readonly vcpus?: number;
	/** Chooses how several CPUs take turns. */
	readonly seed?: number;
	/** QEMU's -cpu; null or absent for all that the host has. */
	readonly guestCpu?: string | null;
	/** KVM_CREATE_PIT2. Default true. */
	readonly pit?: boolean;
	/** Guest memory; at most 1 GiB is given. Default: what the image needs, with room to spare. */
	readonly ramBytes?: number;
	/** A snapshot to go on from, of a machine that was made with the same options; `bytes` is not looked at then. */
	readonly snapshotIn?: Uint8Array;
	/** Takes the machine as it is at the end of the run. */
	readonly onSnapshot?: (bytes: Uint8Array) => void;
	/** Trees whose costs for this run's exits are compared. */
	readonly compare?: { readonly from: Tree; readonly to: Tree };
	readonly onConsole: (byte: number) => void;
}

/** How a run ended. */
export interface RunEnd {
	readonly kind: VmmResult["kind"];
	/** Exit code of the guest; 0 unless `kind` is exit. */
	readonly code: number;
	/** One line on why it ended, for kinds other than exit and power-off. */
	readonly message: string;
	/** Exits by name, with how often each happened. On /dev/kvm: returns of KVM_RUN. */
	readonly exitCounts: Readonly<Record<string, { readonly count: number }>>;
}

export interface RunOutcome extends RunEnd {
	readonly instructions: number;
	readonly cycles: number;
	/** What a tree saves, or would have saved, in these exits; null if none was named. */
	readonly saved: Saved | null;
}

/** What a Linux kernel is told when nothing else is: print to the serial port, from the first line on. */
const LINUX_COMMAND_LINE = "console=ttyS0 earlyprintk=serial";

/** @throws ImageError for an initial RAM disk that the image cannot take */
function commandLineOf(
	image: Image,
	{ fileName, append, initrd }: Pick<RunOptions, "fileName" | "append" | "initrd">,
): string {
	if (image.protocol === "linux") return append ?? LINUX_COMMAND_LINE;
	if (initrd !== undefined) throw new ImageError("no Linux kernel: it takes no initial RAM disk");
	return `${fileName} ${append ?? ""}`.trim();
}

/** Guest memory in bytes: what was asked for, which the image must fit into, or what it needs. */
function ramBytesFor(image: Image, { ramBytes }: Pick<RunOptions, "ramBytes">): number {
	return ramBytes === undefined ? guestRamBytesFor(image) : Math.min(ramBytes, RAM_BYTES_MAX);
}

/** How the machine of a run is made: what a snapshot says, or what the options and the image do. */
function headerOf(options: RunOptions, image: Image | null): SnapshotHeader {
	const { model, vendor, tree, snapshotIn } = options;
	const said = snapshotIn === undefined ? null : snapshotHeader(snapshotIn);
	if (said?.ended !== undefined)
		throw new SnapshotError(
			`the guest of this snapshot has ended (${said.ended}): there is nothing to go on with`,
		);
	const ramBytes = image === null ? 0 : ramBytesFor(image, options);
	return {
		program: VERSION,
		modelHash: hashText(`${JSON.stringify(model)} ${treeHash(tree, vendor)}`),
		model: model.name,
		vendor: vendor === "svm" ? "svm" : "vmx",
		tree: tree.name,
		vcpus: said?.vcpus ?? options.vcpus ?? 1,
		seed: said?.seed ?? options.seed ?? 1,
		pit: said?.pit ?? options.pit ?? true,
		guestRamBytes: said?.guestRamBytes ?? ramBytes,
	};
}

/**
 * Runs an image, or a snapshot, to its end.
 * @throws ImageError if the file is no image; SnapshotError if the snapshot cannot be read, or was made by another version
 */
export function runImage(options: RunOptions): RunOutcome {
	const { model, vendor, tree, snapshotIn } = options;
	const image = snapshotIn === undefined ? loadImage(options.bytes) : null;
	const header = headerOf(options, image);
	const { guestRamBytes } = header;
	const machine = createMachine({
		model,
		vendor,
		tree,
		ramBytes: hostRamBytesFor(guestRamBytes),
		vcpus: header.vcpus,
		pit: header.pit,
		smp: { seed: header.seed },
	});
	const { vcpu, vm } = machine;
	const vmm = new Vmm(machine, { guestRamBytes, onConsole: options.onConsole });
	if (options.guestCpu !== undefined && options.guestCpu !== null) {
		const guestCpu = parseGuestCpu(options.guestCpu);
		for (const each of vm.vcpus) applyGuestCpu(each, guestCpu);
	}
	const { onSnapshot } = options;
	const graph = snapshotIn === undefined && onSnapshot === undefined ? null : machineGraph(machine, vmm);
	if (image !== null) {
		vmm.load(image, {
			commandLine: commandLineOf(image, options),
			...(options.initrd === undefined ? {} : { initrd: options.initrd }),
		});
	}
	if (snapshotIn !== undefined) restoreSnapshot(snapshotIn, machine, graph!, header);
	const result = vmm.run(options.budgetInstructions);
	const ended = result.kind === "budget" ? {} : { ended: result.kind };
	onSnapshot?.(writeSnapshot(machine, vmm, graph!, { ...header, ...ended }));
	const exitCounts: Record<string, { count: number }> = {};
	for (const { stat } of vm.vcpus) {
		for (const [reason, count] of stat.byReason) {
			const name = vm.ops.exitReasonName(reason);
			exitCounts[name] = { count: count + (exitCounts[name]?.count ?? 0) };
		}
	}
	const instructions = machine.processors.reduce((sum, processor) => sum + processor.cpu.instructions, 0);
	const cycles = Math.max(...machine.processors.map((processor) => processor.cpu.cycles));
	const { compare } = options;
	const saved = compare === undefined ? null : savedIn({ ...compare, vcpus: vm.vcpus, model, vendor });
	const rip = () => vm.ops.getRip(vcpu).toString(16);
	const end = endOf(result, { rip, dump: () => vm.ops.dump(vcpu) });
	return { ...end, exitCounts, instructions, cycles, saved };
}

/** What is said of a vCPU at its end. */
interface VcpuWords {
	rip(): string;
	/** Its state in lines; empty if it cannot be seen. */
	dump(): string;
}

function endOf(result: VmmResult, words: VcpuWords): Omit<RunEnd, "exitCounts"> {
	const { kind } = result;
	switch (kind) {
		case "exit":
			return { kind, code: result.code, message: "" };
		case "power-off":
			return { kind, code: 0, message: "" };
		case "reset":
			return { kind, code: 0, message: "the guest asked for a reset" };
		case "triple-fault":
			return { kind, code: 0, message: `triple fault at RIP 0x${words.rip()}` };
		case "halted":
			return { kind, code: 0, message: "the guest halted and no event can wake it" };
		case "budget":
			return { kind, code: 0, message: `the budget is used up after ${result.instructions} instructions` };
		default:
			return { kind, code: 0, message: `${result.message}\n${words.dump()}`.trimEnd() };
	}
}

/** What a run on a machine behind KVM's user API takes. */
export type BackendRunOptions = Pick<
	RunOptions,
	"bytes" | "fileName" | "append" | "initrd" | "ramBytes" | "onConsole"
> & {
	/** Time since the start, in seconds, as the guest's devices see it. */
	readonly seconds: () => number;
};

/**
 * Runs an image on a machine behind KVM's user API, with the same devices around it.
 * @throws ImageError if the file is no image; KvmError
 */
export async function runImageOn(kvm: KvmSystem, options: BackendRunOptions): Promise<RunEnd> {
	const image = loadImage(options.bytes);
	const guestRamBytes = ramBytesFor(image, options);
	const vmm = new BackendVmm(kvm, { guestRamBytes, seconds: options.seconds, onConsole: options.onConsole });
	vmm.load(image, {
		commandLine: commandLineOf(image, options),
		...(options.initrd === undefined ? {} : { initrd: options.initrd }),
	});
	const end = endOf(await vmm.run(), { rip: () => vmm.lastRip.toString(16), dump: () => "" });
	const exitCounts = Object.fromEntries([...vmm.exitCounts].map(([name, count]) => [name, { count }]));
	return { ...end, exitCounts };
}
