/** A vCPU of the software KVM: the ioctls of its file (arch/x86/kvm/x86.c: kvm_arch_vcpu_ioctl(), v6.18). */
import { kvmUpdateDr0123, kvmUpdateDr7 } from "../kvm/emulate/debug.ts";
import { kvmSetGuestDebug } from "../kvm/emulate/guest-debug.ts";
import { kvmQueueException } from "../kvm/emulate/inject.ts";
import { kvmGetCr8, kvmSetCr8, kvmSetXcr } from "../kvm/emulate/control.ts";
import { gvaToGpa } from "../kvm/emulate/guest-memory.ts";
import { GuestFault } from "../kvm/emulate/guest-fault.ts";
import { kvmRun } from "../kvm/api/kvm.ts";
import { getRegs, getSregs, isValidSregs, setRegs, setSregs } from "../kvm/api/registers.ts";
import { VECTOR } from "../silicon/cpu/fault.ts";
import { GUESTDBG, KVM_REQ, MP_STATE } from "../kvm/requests.ts";
import { loadHere, type Vcpu, makeRequest } from "../kvm/vcpu.ts";
import { type CoalescedWrite, KvmError, type KvmVcpu, type Msr, type Xcr } from "../uapi/api.ts";
import type { VcpuExit } from "../uapi/exit.ts";
import type {
	KvmCpuidEntry2,
	KvmDebugregs,
	KvmFpu,
	KvmRegs,
	KvmSregs,
	KvmVcpuEvents,
} from "../uapi/structs.ts";
import { getCpuid2, setCpuid2 } from "./cpuid.ts";
import { getVcpuEvents, setVcpuEvents } from "../kvm/api/vcpu-events.ts";
import { readExit } from "./exit.ts";
import { getMsrs, setMsrs } from "./msrs.ts";
import { getOneReg, regList, setOneReg } from "./one-reg.ts";
import { SoftVcpuThread, sliceTimer } from "./thread.ts";
import { getFpu, getXsaveArea, setFpu, setXsaveArea } from "./xsave.ts";

const EINTR = 4;
const HIGH_HALF = 32n;
const VECTORS = 256;
/** tsc_tolerance_ppm: a frequency so near to the host's is the host's. */
const TSC_TOLERANCE = 250e-6;

export class SoftVcpu implements KvmVcpu {
	readonly id: number;
	private readonly v: Vcpu;
	private readonly hooks: SoftVcpuHooks;
	private immediateExit = false;
	/** kvm_vcpu_has_run(): its CPUID stays from then on. */
	private hasRun = false;
	private closed = false;

	constructor(v: Vcpu, hooks: SoftVcpuHooks) {
		this.v = v;
		this.id = v.id;
		this.hooks = hooks;
	}

	/** kvm_vcpu_ioctl(): vcpu_load, the ioctl's own work, vcpu_put. */
	private ioctl<T>(work: (v: Vcpu) => T): T {
		if (this.closed) throw new KvmError("ioctl", "EBADF", `vCPU ${this.id} was closed`);
		const { helpers } = this.v.vm.tree;
		loadHere(this.v);
		try {
			return work(this.v);
		} finally {
			helpers.kvm_arch_vcpu_put(this.v);
		}
	}

	// ---- registers -----------------------------------------------------------------------------------

	getRegs(): KvmRegs {
		return this.ioctl(getRegs);
	}
	setRegs(regs: KvmRegs): void {
		this.ioctl((v) => setRegs(v, regs));
	}

	getSregs(): KvmSregs {
		return this.ioctl((v) => {
			const { injected, soft, vector } = v.interrupt;
			const bitmap = [0n, 0n, 0n, 0n];
			if (injected && !soft) bitmap[vector >> 6] = 1n << BigInt(vector & 63);
			return {
				...getSregs(v),
				cr8: BigInt(kvmGetCr8(v)),
				apic_base: BigInt(v.apic?.baseMsr ?? v.apicBase),
				interrupt_bitmap: bitmap,
			};
		});
	}
	setSregs(sregs: KvmSregs): void {
		this.ioctl((v) => {
			if (!isValidSregs(v, sregs)) {
				throw new KvmError("KVM_SET_SREGS", "EINVAL", "control registers that no processor would hold");
			}
			if (v.apic === null) v.apicBase = Number(sregs.apic_base);
			else if (!v.apic.setBaseForHost(Number(sregs.apic_base))) {
				throw new KvmError("KVM_SET_SREGS", "EINVAL", `apic_base 0x${sregs.apic_base.toString(16)}`);
			}
			setSregs(v, sregs);
			kvmSetCr8(v, Number(sregs.cr8 & 15n));
			const word = sregs.interrupt_bitmap.findIndex((bits) => bits !== 0n);
			if (word < 0) return;
			this.queueInterrupt(v, 64 * word + lowestBit(sregs.interrupt_bitmap[word]!));
		});
	}

	getFpu(): KvmFpu {
		return this.ioctl(getFpu);
	}
	setFpu(fpu: KvmFpu): void {
		this.ioctl((v) => setFpu(v, fpu));
	}
	getXsave(): Uint8Array {
		return this.ioctl(getXsaveArea);
	}
	setXsave(area: Uint8Array): void {
		this.ioctl((v) => setXsaveArea(v, area));
	}
	getXcrs(): Xcr[] {
		return this.ioctl((v) => [{ xcr: 0, value: BigInt(v.xcr0) }]);
	}
	setXcrs(xcrs: readonly Xcr[]): void {
		this.ioctl((v) => {
			// XCRs beyond XCR0 there are none, and KVM does not look at them.
			const wanted = xcrs.find(({ xcr }) => xcr === 0);
			if (wanted !== undefined && !kvmSetXcr(v, 0, Number(wanted.value))) {
				throw new KvmError("KVM_SET_XCRS", "EINVAL", `XCR0 := 0x${wanted.value.toString(16)}`);
			}
		});
	}
	getMsrs(indices: readonly number[]): Msr[] {
		return this.ioctl((v) => getMsrs(v, indices));
	}
	setMsrs(msrs: readonly Msr[]): void {
		this.ioctl((v) => setMsrs(v, msrs));
	}

	getRegList(): bigint[] {
		return this.ioctl(regList);
	}
	getOneReg(id: bigint): bigint {
		return this.ioctl((v) => getOneReg(v, id));
	}
	setOneReg(id: bigint, value: bigint): void {
		this.ioctl((v) => setOneReg(v, id, value));
	}

	getDebugregs(): KvmDebugregs {
		return this.ioctl((v) => ({
			db: [...v.db],
			dr6: BigInt(v.dr6 >>> 0),
			dr7: BigInt(v.dr7 >>> 0),
			flags: 0n,
			reserved: Array.from({ length: 9 }, () => 0n),
		}));
	}
	setDebugregs({ db, dr6, dr7, flags }: KvmDebugregs): void {
		this.ioctl((v) => {
			if (flags !== 0n || dr6 >> HIGH_HALF !== 0n || dr7 >> HIGH_HALF !== 0n) {
				throw new KvmError(
					"KVM_SET_DEBUGREGS",
					"EINVAL",
					"flags and the upper halves of DR6 and DR7 must be 0",
				);
			}
			v.db.set(db);
			kvmUpdateDr0123(v);
			v.dr6 = Number(dr6);
			v.dr7 = Number(dr7);
			kvmUpdateDr7(v);
		});
	}

	// ---- what the guest is told ----------------------------------------------------------------------

	getCpuid2(): KvmCpuidEntry2[] {
		return this.ioctl(getCpuid2);
	}
	setCpuid2(entries: readonly KvmCpuidEntry2[]): void {
		this.ioctl((v) => setCpuid2(v, entries, this.hasRun));
	}
	getTscKhz(): number {
		return this.ioctl((v) => Math.round(v.cpu.model.tscHz / 1000));
	}
	setTscKhz(khz: number): void {
		const host = this.getTscKhz();
		if (khz !== 0 && Math.abs(khz / host - 1) > TSC_TOLERANCE) {
			throw new KvmError("KVM_SET_TSC_KHZ", "EINVAL", `${khz}: the TSC runs at ${host} and is not scaled`);
		}
	}

	// ---- events --------------------------------------------------------------------------------------

	getMpState(): number {
		return this.ioctl((v) => {
			v.apic?.acceptEvents();
			const kicked = v.mpState === MP_STATE.HALTED && v.pvUnhalted;
			return kicked ? MP_STATE.RUNNABLE : v.mpState;
		});
	}
	setMpState(state: number): void {
		this.ioctl((v) => {
			const known = Object.values(MP_STATE).some((one) => one === state);
			if (!known || (v.apic === null && state !== MP_STATE.RUNNABLE)) {
				throw new KvmError(
					"KVM_SET_MP_STATE",
					"EINVAL",
					`${state}: without a local APIC in KVM there is only 0`,
				);
			}
			v.mpState = state;
			makeRequest(v, KVM_REQ.EVENT);
		});
	}
	getVcpuEvents(): KvmVcpuEvents {
		return this.ioctl(getVcpuEvents);
	}
	setVcpuEvents(events: KvmVcpuEvents): void {
		this.ioctl((v) => setVcpuEvents(v, events));
	}
	getLapic(): Uint8Array {
		return this.ioctl((v) => this.lapicOf(v, "KVM_GET_LAPIC").getState());
	}
	setLapic(registers: Uint8Array): void {
		this.ioctl((v) => this.lapicOf(v, "KVM_SET_LAPIC").setState(registers));
	}
	private lapicOf(v: Vcpu, call: string) {
		if (v.apic === null) throw new KvmError(call, "EINVAL", "the VM has no interrupt controllers in KVM");
		return v.apic;
	}
	interrupt(vector: number): void {
		this.ioctl((v) => {
			if (vector < 0 || vector >= VECTORS) throw new KvmError("KVM_INTERRUPT", "EINVAL", `vector ${vector}`);
			if (v.apic !== null) {
				throw new KvmError("KVM_INTERRUPT", "ENXIO", "the VM has its interrupt controllers in KVM");
			}
			this.queueInterrupt(v, vector);
		});
	}
	private queueInterrupt(v: Vcpu, vector: number): void {
		v.interrupt.injected = true;
		v.interrupt.soft = false;
		v.interrupt.vector = vector;
		makeRequest(v, KVM_REQ.EVENT);
	}
	nmi(): void {
		this.ioctl((v) => {
			v.nmiQueued++;
			makeRequest(v, KVM_REQ.NMI);
		});
	}
	setGuestDebug(control: number, debugreg: readonly bigint[] = []): void {
		this.ioctl((v) => {
			const { exception } = v;
			const injected = control & (GUESTDBG.INJECT_DB | GUESTDBG.INJECT_BP);
			if (injected !== 0) {
				if (exception.pending || exception.injected)
					throw new KvmError("KVM_SET_GUEST_DEBUG", "EBUSY", `exception ${exception.vector} is pending`);
				const isDb = (injected & GUESTDBG.INJECT_DB) !== 0;
				kvmQueueException(v, isDb ? VECTOR.DB : VECTOR.BP, null);
			}
			kvmSetGuestDebug(v, control, debugreg);
		});
	}
	translate(linear: bigint): bigint | null {
		return this.ioctl((v) => {
			v.vm.ops.cacheControlRegisters(v);
			try {
				return BigInt(gvaToGpa(v, linear, 0));
			} catch (fault) {
				if (fault instanceof GuestFault) return null;
				throw fault;
			}
		});
	}

	// ---- KVM_RUN -------------------------------------------------------------------------------------

	run(): VcpuExit {
		if (this.closed) throw new KvmError("KVM_RUN", "EBADF", `vCPU ${this.id} was closed`);
		const { v } = this;
		const task = v.kernel.vcpuTask;
		this.hasRun = true;
		// User space waits for a window: the entry has to look for it.
		if (v.run.requestInterruptWindow) makeRequest(v, KVM_REQ.EVENT);
		task.signalPending = this.immediateExit;
		this.hooks.beforeRun(v);
		const result = kvmRun(v);
		this.hooks.afterRun();
		task.signalPending = false;
		if (result === -EINTR) return { reason: "intr" };
		if (result < 0) throw new KvmError("KVM_RUN", `errno ${-result}`);
		return readExit(v);
	}

	/**
	 * KVM_RUN for a time.
	 * @param cycles of the host's time stamp counter
	 * @returns null if nothing but the end of the time ended it
	 */
	runFor(cycles: number): VcpuExit | null {
		const { kernel, cpu } = this.v;
		let over = false;
		const timer = sliceTimer(() => {
			over = true;
			kernel.vcpuTask.signalPending = true;
		});
		kernel.hrtimers.start(timer, cpu.cycles + cycles);
		try {
			const exit = this.run();
			return exit.reason === "intr" && !this.immediateExit ? null : exit;
		} finally {
			if (!over) kernel.hrtimers.cancel(timer);
		}
	}

	startThread(): Promise<SoftVcpuThread> {
		return Promise.resolve(new SoftVcpuThread(this));
	}

	setImmediateExit(on: boolean): void {
		this.immediateExit = on;
	}
	requestInterruptWindow(on: boolean): void {
		this.v.run.requestInterruptWindow = on;
	}
	takeCoalesced(): CoalescedWrite[] {
		return this.v.vm.ioBus.takeCoalesced();
	}

	/** What it has run so far. */
	get stats(): { readonly exitCounts: Readonly<Record<string, number>>; readonly instructions: number } {
		const { v } = this;
		const named = [...v.stat.byReason].map(([reason, count]) => [v.vm.ops.exitReasonName(reason), count]);
		return { exitCounts: Object.fromEntries(named), instructions: v.cpu.instructions };
	}

	/** The guest's state as the kernel's dump_vmcs() or dump_vmcb() print it. */
	dump(): string {
		return this.v.vm.ops.dump(this.v);
	}

	/** The file is closed; KVM destroys a vCPU with its VM. */
	close(): void {
		this.closed = true;
	}
}

/** What the VM does around KVM_RUN of its vCPUs. */
export interface SoftVcpuHooks {
	beforeRun(v: Vcpu): void;
	afterRun(): void;
}

function lowestBit(bits: bigint): number {
	let bit = 0;
	while (((bits >> BigInt(bit)) & 1n) === 0n) bit++;
	return bit;
}
