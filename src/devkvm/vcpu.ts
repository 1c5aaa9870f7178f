/** A vCPU of the real KVM. KVM_RUN blocks the thread that calls it: `thread.ts` runs one in a worker. */
import { type CoalescedWrite, KvmError, type KvmVcpu, type Msr, type Xcr } from "../uapi/api.ts";
import type { VcpuExit } from "../uapi/exit.ts";
import { encode, buffer } from "../uapi/layout.ts";
import {
	type KvmCpuidEntry2,
	type KvmDebugregs,
	type KvmFpu,
	type KvmRegs,
	type KvmSregs,
	type KvmVcpuEvents,
	kvmDebugregs,
	kvmFpu,
	kvmGuestDebug,
	kvmInterrupt,
	kvmLapicState,
	kvmMpState,
	kvmRegs,
	kvmSregs,
	kvmTranslation,
	kvmVcpuEvents,
	kvmXcrs,
	kvmXsave,
} from "../uapi/structs.ts";
import type { Fd } from "./fd.ts";
import type { Mapping } from "./libc.ts";
import { getCpuid, getMsrs, getRegList, moveOneReg, setCpuid, setMsrs } from "./lists.ts";
import { RunPage } from "./run-page.ts";
import { DevVcpuThread } from "./thread.ts";

export class DevVcpu implements KvmVcpu {
	readonly id: number;
	/** Its file; `thread.ts` passes the number to a worker. */
	readonly fd: Fd;
	readonly page: RunPage;
	private readonly mapping: Mapping;
	private readonly xsaveBytes: number;
	private readonly onClose: () => void;
	private closed = false;

	/**
	 * @param vcpuBytes KVM_GET_VCPU_MMAP_SIZE
	 * @param xsaveBytes KVM_CAP_XSAVE2, or 0 where KVM_GET_XSAVE is all there is
	 */
	constructor(fd: Fd, id: number, vcpuBytes: number, xsaveBytes: number, onClose: () => void) {
		this.fd = fd;
		this.id = id;
		this.xsaveBytes = xsaveBytes;
		this.onClose = onClose;
		try {
			this.mapping = fd.libc.map(vcpuBytes, fd.number);
		} catch (error) {
			fd.close();
			throw error;
		}
		this.page = new RunPage(this.mapping.bytes);
	}

	getRegs(): KvmRegs {
		return this.fd.get("KVM_GET_REGS", kvmRegs);
	}
	setRegs(regs: KvmRegs): void {
		this.fd.set("KVM_SET_REGS", kvmRegs, regs);
	}
	getSregs(): KvmSregs {
		return this.fd.get("KVM_GET_SREGS", kvmSregs);
	}
	setSregs(sregs: KvmSregs): void {
		this.fd.set("KVM_SET_SREGS", kvmSregs, sregs);
	}
	getFpu(): KvmFpu {
		return this.fd.get("KVM_GET_FPU", kvmFpu);
	}
	setFpu(fpu: KvmFpu): void {
		this.fd.set("KVM_SET_FPU", kvmFpu, fpu);
	}

	getXsave(): Uint8Array {
		const { bytes } = buffer(Math.max(this.xsaveBytes, kvmXsave.bytes));
		this.fd.ioctl(this.xsaveBytes > 0 ? "KVM_GET_XSAVE2" : "KVM_GET_XSAVE", bytes);
		return bytes;
	}
	setXsave(area: Uint8Array): void {
		const { bytes } = buffer(Math.max(this.xsaveBytes, kvmXsave.bytes));
		bytes.set(area.subarray(0, bytes.length));
		this.fd.ioctl("KVM_SET_XSAVE", bytes);
	}
	getXcrs(): Xcr[] {
		const { nr_xcrs, xcrs } = this.fd.get("KVM_GET_XCRS", kvmXcrs);
		return xcrs.slice(0, nr_xcrs).map(({ xcr, value }) => ({ xcr, value }));
	}
	setXcrs(xcrs: readonly Xcr[]): void {
		const list = xcrs.map(({ xcr, value }) => ({ xcr, value, reserved: 0 }));
		this.fd.set("KVM_SET_XCRS", kvmXcrs, { nr_xcrs: list.length, xcrs: list });
	}

	getMsrs(indices: readonly number[]): Msr[] {
		return getMsrs(this.fd, indices);
	}
	setMsrs(msrs: readonly Msr[]): void {
		setMsrs(this.fd, msrs);
	}
	getRegList(): bigint[] {
		return getRegList(this.fd);
	}
	getOneReg(id: bigint): bigint {
		return moveOneReg(this.fd, "KVM_GET_ONE_REG", id, 0n);
	}
	setOneReg(id: bigint, value: bigint): void {
		moveOneReg(this.fd, "KVM_SET_ONE_REG", id, value);
	}
	getCpuid2(): KvmCpuidEntry2[] {
		return getCpuid(this.fd, "KVM_GET_CPUID2");
	}
	setCpuid2(entries: readonly KvmCpuidEntry2[]): void {
		setCpuid(this.fd, entries);
	}

	getMpState(): number {
		return this.fd.get("KVM_GET_MP_STATE", kvmMpState).mp_state;
	}
	setMpState(state: number): void {
		this.fd.set("KVM_SET_MP_STATE", kvmMpState, { mp_state: state });
	}
	getVcpuEvents(): KvmVcpuEvents {
		return this.fd.get("KVM_GET_VCPU_EVENTS", kvmVcpuEvents);
	}
	setVcpuEvents(events: KvmVcpuEvents): void {
		this.fd.set("KVM_SET_VCPU_EVENTS", kvmVcpuEvents, events);
	}
	getDebugregs(): KvmDebugregs {
		return this.fd.get("KVM_GET_DEBUGREGS", kvmDebugregs);
	}
	setDebugregs(debugregs: KvmDebugregs): void {
		this.fd.set("KVM_SET_DEBUGREGS", kvmDebugregs, debugregs);
	}
	getLapic(): Uint8Array {
		return this.fd.get("KVM_GET_LAPIC", kvmLapicState).regs;
	}
	setLapic(registers: Uint8Array): void {
		this.fd.set("KVM_SET_LAPIC", kvmLapicState, { regs: registers });
	}
	getTscKhz(): number {
		return this.fd.ioctl("KVM_GET_TSC_KHZ");
	}
	setTscKhz(khz: number): void {
		this.fd.ioctl("KVM_SET_TSC_KHZ", khz);
	}
	setGuestDebug(control: number, debugreg: readonly bigint[] = []): void {
		this.fd.set("KVM_SET_GUEST_DEBUG", kvmGuestDebug, { control, debugreg: [...debugreg] });
	}

	translate(linear: bigint): bigint | null {
		const { bytes, view } = encode(kvmTranslation, { linear_address: linear });
		this.fd.ioctl("KVM_TRANSLATE", bytes);
		const { valid, physical_address } = kvmTranslation.read(view, 0);
		return valid === 0 ? null : physical_address;
	}
	interrupt(vector: number): void {
		this.fd.set("KVM_INTERRUPT", kvmInterrupt, { irq: vector });
	}
	nmi(): void {
		this.fd.ioctl("KVM_NMI");
	}

	run(): VcpuExit {
		try {
			this.fd.ioctl("KVM_RUN");
		} catch (error) {
			return exitAfterError(error);
		}
		return this.page.exit();
	}

	startThread(): Promise<DevVcpuThread> {
		return DevVcpuThread.start(this);
	}

	setImmediateExit(on: boolean): void {
		this.page.immediateExit = on;
	}
	requestInterruptWindow(on: boolean): void {
		this.page.requestInterruptWindow = on;
	}
	takeCoalesced(): CoalescedWrite[] {
		return this.page.takeCoalesced();
	}

	close(): void {
		if (this.closed) return;
		this.closed = true;
		this.fd.libc.unmap(this.mapping);
		this.fd.close();
		this.onClose();
	}
}

/** KVM_RUN fails with EINTR when a signal or immediate_exit ended it, which is an exit; other errors are errors. */
export function exitAfterError(error: unknown): VcpuExit {
	if (error instanceof KvmError && (error.errno === "EINTR" || error.errno === "EAGAIN"))
		return { reason: "intr" };
	throw error;
}
