/**
 * The second vCPU of a check, on a CPU of its own. It runs through the same tree in slices, and the first vCPU's run
 * decides when: a slice is an event at one of its ops (kind `vcpu`), or what happens while it sleeps and when it has
 * ended. A slice ends behind each node in which it says that it is outside of the guest, interrupts the other vCPU or
 * enters the guest, and where it sleeps. It does not end between `mode = IN_GUEST_MODE` and the VM entry: what falls
 * there is looked at from the other side, since the first vCPU can be interrupted before each of its ops.
 *
 *     vCPU 0:  op op op ┌─────────────┐ op op ┌─────────────┐ op …
 *     vCPU 1:           │ to the next │       │ to the next │
 *                       └─ VM entry ──┘       └─ IPI ───────┘
 */
import type { Kernel } from "../host/kernel.ts";
import { HOST_VECTOR } from "../host/idt.ts";
import type { OtherCpus } from "../host/smp.ts";
import { Thread } from "../host/thread.ts";
import type { Machine } from "../kvm/api/kvm.ts";
import type { Program } from "../kvm/flow/program.ts";
import { ProgramRunner } from "../kvm/flow/program.ts";
import type { GuestLedger, GuestRegister } from "../kvm/ledger.ts";
import { KVM_EXIT, VCPU_MODE } from "../kvm/requests.ts";
import type { Cpu } from "../silicon/cpu/cpu.ts";
import type { OpObserver } from "../silicon/cpu/observers.ts";
import { symbol } from "../silicon/cpu/symbols.ts";
import { OP } from "../silicon/ops.ts";
import { flushTlb } from "../silicon/paging/tlb.ts";
import { GUEST_ENDS, PROPERTIES, questionsAt } from "./properties/properties.ts";
import type { Property, PropertyContext } from "./properties/property.ts";
import { timePasses } from "./silicon.ts";

/** A slice that has more nodes than this goes round in circles. */
const NODES_MAX = 10_000;
/** Slices at the end of a run, when the first vCPU has ended. */
const LAST_SLICES_MAX = 100;

/** Ops by which a vCPU tells another one something, or after which another may tell it something. */
const COMMUNICATES: ReadonlySet<number> = new Set([
	OP.kvm_make_request,
	OP.kvm_vcpu_kick,
	OP.send_ipi,
	OP.vmlaunch,
	OP.vmresume,
	OP.vmrun,
]);

/** Functions in which a vCPU stands between what it has for another one and the interrupt that tells it. */
const KICKING: ReadonlySet<number> = new Set(
	["kvm_request_and_kick", "vmx_deliver_posted_interrupt"].map((name) => symbol(name)),
);

function* nothing(): Generator<void, void> {}

/** Told of a property that a vCPU's run violates. */
type Fail = (property: Pick<Property, "name" | "degree">, detail: string, cpu: Cpu) => void;

/** The two CPUs of a check. There is no clock between them: who runs is the schedule's to say. */
export class CpuPair implements OtherCpus {
	running: Kernel | null;
	readonly other: OtherVcpu;
	private readonly first: Thread;

	constructor(machine: Machine, program: Program, fail: Fail) {
		const { kernels, vm } = machine;
		this.running = machine.kernel;
		const threads = vm.vcpus.map((vcpu) => {
			vcpu.kernel.current = vcpu.kernel.vcpuTask;
			vcpu.kernel.smp = this;
			const thread = new Thread(vcpu.kernel.vcpuTask, vcpu.kernel, nothing(), () => {});
			vcpu.thread = thread;
			return thread;
		});
		this.first = threads[0]!;
		const [, kernel] = kernels;
		const view = { ...machine, ...machine.processors[1]!, kernel: kernel!, vcpu: vm.vcpus[1]! };
		this.other = new OtherVcpu(this, view, program, fail);
	}

	wake(thread: Thread): boolean {
		if (!thread.asleep) return false;
		thread.asleep = false;
		return true;
	}

	sendReschedule(to: Kernel): void {
		this.running!.cpu.op(OP.send_ipi);
		to.apic.raise(HOST_VECTOR.reschedule);
	}

	/** The first vCPU sleeps: the other one runs until it wakes it or cannot go on; then the timer is all that is left. */
	sleep(kernel: Kernel): boolean {
		const { first, other } = this;
		if (kernel !== first.kernel) {
			other.thread.asleep = true;
			return true;
		}
		if (!other.canRun) return kernel.idleToTimer();
		first.asleep = true;
		other.slice();
		first.asleep = false;
		return true;
	}

	scheduleOther(): boolean {
		return false;
	}

	somethingWillHappen(): void {}
}

/** The pair of a machine with two vCPUs; null if it has one. */
export function pairOf({ kernel }: Machine): CpuPair | null {
	return kernel.smp instanceof CpuPair ? kernel.smp : null;
}

/** The second vCPU: its run, and who judges it. */
export class OtherVcpu implements OpObserver, PropertyContext, GuestLedger {
	/** The machine as its properties see it: its own CPU and vCPU are the first. */
	readonly machine: Machine;
	readonly thread: Thread;
	/** KVM_RUN came back with something that no VMM serves here. */
	private ended = false;
	/** Something was done that the other vCPU may see: the slice ends. */
	private communicated = false;
	private readonly runner: ProgramRunner;
	private readonly pair: CpuPair;
	private readonly fail: Fail;
	/** Each property's words. */
	private readonly memory = PROPERTIES.map(({ words }) => ({ words: new Int32Array(words ?? 0) }));

	constructor(pair: CpuPair, machine: Machine, program: Program, fail: Fail) {
		this.pair = pair;
		this.machine = machine;
		this.fail = fail;
		const { vcpu, cpu } = machine;
		this.thread = vcpu.thread!;
		this.runner = new ProgramRunner(program, vcpu);
		this.runner.stepwise = true;
		cpu.stackDepth = 0;
		cpu.observer = this;
		vcpu.ledger = this;
		this.runner.start();
	}

	/** Whether it would do something now. */
	get canRun(): boolean {
		return !this.ended && !this.thread.asleep;
	}

	/** Runs on to where it communicates next. */
	slice(): void {
		const { pair } = this;
		const before = pair.running;
		pair.running = this.machine.kernel;
		this.communicated = false;
		try {
			for (let nodes = 0; this.canRun && !this.communicated; nodes++) {
				if (nodes < NODES_MAX) this.node();
				else this.livelock();
			}
		} finally {
			pair.running = before;
		}
	}

	private livelock(): void {
		const ends = { name: GUEST_ENDS, degree: "violation" } as const;
		this.fail(ends, "vCPU 1: the run loop goes round and round", this.machine.cpu);
		this.ended = true;
	}

	/** Runs up to its first guest instruction, where a check begins. */
	enterGuest(): void {
		while (this.machine.cpu.guest === null && this.canRun) this.slice();
	}

	/** The first vCPU has ended: this one goes on until it sleeps. */
	finish(): void {
		for (let slices = 0; this.canRun && slices < LAST_SLICES_MAX; slices++) this.slice();
		this.ask((property, words) => property.onEnd?.(this, words));
	}

	private node(): void {
		const { runner, machine } = this;
		const { kernel, cpu, vcpu } = machine;
		if (runner.pc < 0) {
			kernel.returnToUser(kernel.current);
			cpu.poll();
			kernel.vcpuTask.signalPending = false;
			const { exitReason } = vcpu.run;
			this.ended = machine.vm.dead || (exitReason !== KVM_EXIT.UNKNOWN && exitReason !== KVM_EXIT.INTR);
			if (!this.ended) runner.start();
			return;
		}
		// The guest goes on: what has come since its entry must be about to end its run.
		if (cpu.guest !== null) this.ask((property, words) => property.onGuestEntry?.(this, words));
		runner.step();
	}

	/** The other vCPU stands between its request and the kick. */
	readonly kvmRunResult: number | null = null;

	get isBeingKicked(): boolean {
		const { cpu } = this.machine.vm.vcpus[0]!;
		for (let depth = 0; depth < cpu.stackDepth; depth++) if (KICKING.has(cpu.stack[depth]!)) return true;
		return false;
	}

	private ask(question: (property: Property, words: Int32Array) => string | null | undefined): void {
		for (const [at, property] of PROPERTIES.entries()) {
			const detail = question(property, this.memory[at]!.words) ?? null;
			if (detail !== null) this.fail(property, `vCPU 1: ${detail}`, this.machine.cpu);
		}
	}

	/** Takes its CPU back from the run. */
	detach(): void {
		const { cpu, vcpu } = this.machine;
		cpu.observer = null;
		cpu.guest = null;
		vcpu.nodeObserver = null;
		vcpu.ledger = null;
	}

	// ---- what it does is judged as the first vCPU's is -------------------------------------------------

	/** Events arrive at the first CPU alone. */
	owed(): number {
		return 0;
	}

	onOp(_cpu: Cpu, op: number): void {
		const leavesGuestMode = op === OP.vcpu_mode && this.machine.vcpu.mode !== VCPU_MODE.OUTSIDE_GUEST_MODE;
		if (leavesGuestMode || COMMUNICATES.has(op)) this.communicated = true;
		for (const { property, index, ask } of questionsAt(op)) {
			const detail = ask.call(property, this, op, this.memory[index]!.words);
			if (detail !== null) this.fail(property, `vCPU 1: ${detail}`, this.machine.cpu);
		}
	}

	onGuestEntry(cpu: Cpu): void {
		flushTlb(cpu);
		this.ask((property, words) => property.onGuestEntry?.(this, words));
	}

	onGuestExit(): void {
		timePasses(this.machine.vcpu);
		for (const [at, property] of PROPERTIES.entries()) property.onGuestExit?.(this, this.memory[at]!.words);
	}

	wrote(register: GuestRegister, value: number | bigint): void {
		for (const [at, property] of PROPERTIES.entries())
			property.onGuestWrite?.(this, register, value, this.memory[at]!.words);
	}

	flushedTlb(): void {
		for (const [at, property] of PROPERTIES.entries()) property.onFlush?.(this, this.memory[at]!.words);
	}

	onEnter(_cpu: Cpu, entered: number): void {
		this.ask((property, words) => property.onEnter?.(this, entered, words));
	}

	onLeave(_cpu: Cpu, left: number): void {
		this.ask((property, words) => property.onLeave?.(this, left, words));
	}
}
