/** KVM's side of a TD (arch/x86/kvm/vmx/tdx.c, v6.18; GHCI specification for TDG.VP.VMCALL). */
import { describe, expect, it } from "vitest";
import { HOST_VECTOR } from "../../../src/host/idt.ts";
import { createMachine, kvmRun, type Machine } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor, Vmm } from "../../../src/kvm/api/vmm.ts";
import { applyPatches, remove } from "../../../src/kvm/flow/patch.ts";
import type { Tree } from "../../../src/kvm/flow/flow.ts";
import { FASTPATH, KVM_EXIT, MP_STATE } from "../../../src/kvm/requests.ts";
import { NO_EXIT_REASON, tdxToVmxExitReason } from "../../../src/kvm/tdx/exit-reason.ts";
import { tdxHandleExit } from "../../../src/kvm/tdx/exit-handlers.ts";
import { SeamcallError, tdxInitMemRegion } from "../../../src/kvm/tdx/memory.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { PENDING } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { OP } from "../../../src/silicon/ops.ts";
import { TDX_STATUS } from "../../../src/silicon/tdx/module.ts";
import { tdExtendedState } from "../../../src/silicon/tdx/td-state.ts";
import { SHARED_BIT } from "../../../src/silicon/tdx/td.ts";
import {
	copy,
	edxEaxEcx,
	JMP_SELF,
	mov,
	R,
	TD_AT,
	TDCALL,
	type TdCode,
	tdMemory,
	vmcall,
	XSETBV,
} from "../../silicon/tdx/td-code.ts";

const R10_TO_R15 = 0xfc00;
const INVALID_OPERAND = 0x8000_0000_0000_0000n;
const SUBFUNCTION_UNSUPPORTED = 0x8000_0000_0000_0003n;

interface Options {
	readonly tree?: Tree;
	readonly xcr0?: number;
	readonly xss?: number;
}

/** A machine with a TD whose memory was added and finalized. */
function machineWith(code: TdCode, { tree = v618, ...kernel }: Options = {}): { machine: Machine; vmm: Vmm } {
	const ramBytes = hostRamBytesFor(2 << 20);
	const machine = createMachine({ model: emeraldRapids, vendor: "tdx", tree, ramBytes, kernel });
	const vmm = new Vmm(machine);
	const bytes = tdMemory(code);
	vmm.load({ protocol: "td", entry: TD_AT.reset, segments: [{ gpa: TD_AT.first, bytes }], endGpa: 2 ** 32 });
	return { machine, vmm };
}

/** TDG.VP.VMCALL with R10-R15; what it gives is in the registers. */
const call = (
	r10: number,
	r11: number,
	r12: bigint | number = 0,
	r13: bigint | number = 0,
	r14 = 0,
	r15 = 0,
) => [
	...mov(10, r10),
	...mov(11, r11),
	...mov(12, r12),
	...mov(13, r13),
	...mov(14, r14),
	...mov(15, r15),
	...vmcall(R10_TO_R15),
];
/** Output to port 5000H: user space sees it as KVM_EXIT_IO. */
const SEEN_PORT = 0x5000;
const out = (value: number, size = 1) => call(0, 30, size, 1, SEEN_PORT, value);
/** Tells R10 and R11 of the call before, 4 bytes a call. */
const tell = [
	...copy(R.rbx, 10),
	...copy(R.rsi, 11),
	...[R.rbx, R.rsi].flatMap((register) =>
		[0, 32].flatMap((shift) => [
			...out(0, 4).slice(0, -vmcall(0).length),
			...copy(15, register),
			...[0x49, 0xc1, 0xef, shift],
			...vmcall(R10_TO_R15),
		]),
	),
	...JMP_SELF,
];

/** Runs until the next output to SEEN_PORT. @returns its value */
function nextOutput({ vcpu }: Machine): number {
	for (let n = 0; n < 100; n++) {
		kvmRun(vcpu);
		const { run } = vcpu;
		if (run.exitReason === KVM_EXIT.IO && run.io.write && run.io.port === SEEN_PORT) {
			let value = 0;
			for (let at = run.io.bytes - 1; at >= 0; at--) value = value * 256 + run.io.data[at]!;
			return value;
		}
		if (run.exitReason !== KVM_EXIT.INTR) throw new Error(`KVM_RUN: ${run.exitReason} ${run.message}`);
	}
	throw new Error("no output");
}

/** R10 and R11 behind a call. */
function resultOf(code: readonly number[], prepare: (machine: Machine) => void = () => {}): [bigint, bigint] {
	const { machine } = machineWith({ program: [...code, ...tell] });
	prepare(machine);
	const [a, b, c, d] = [0, 0, 0, 0].map(() => BigInt(nextOutput(machine)));
	return [a! | (b! << 32n), c! | (d! << 32n)];
}

describe("TDG.VP.VMCALL", () => {
	it("<Instruction.IO> out: KVM_EXIT_IO with port, size and value; success and R11 as it was", () => {
		const { machine } = machineWith({ program: [...out(0xa5), ...tell] });
		expect(nextOutput(machine)).toBe(0xa5);
		expect(machine.vcpu.run.io).toMatchObject({ write: true, port: SEEN_PORT, bytes: 1, count: 1 });
		expect([nextOutput(machine), nextOutput(machine), nextOutput(machine)]).toEqual([0, 0, 30]);
		expect(machine.vcpu.stat.ioExits).toBe(4);
	});

	it("<Instruction.IO> in: R11 gets what user space gave, no wider than the access", () => {
		const { machine } = machineWith({ program: [...call(0, 30, 2, 0, 0x60), ...tell] });
		kvmRun(machine.vcpu);
		const { io } = machine.vcpu.run;
		expect(io).toMatchObject({ write: false, port: 0x60, bytes: 2 });
		io.data.set([0x34, 0x12, 0x99]);
		expect([nextOutput(machine), nextOutput(machine), nextOutput(machine)]).toEqual([0, 0, 0x1234]);
	});

	it.each([
		["a size of 3", call(0, 30, 3, 1, SEEN_PORT)],
		["a size of 2^32 + 1", call(0, 30, 0x1_0000_0001n, 1, SEEN_PORT)],
		["a direction of 2", call(0, 30, 1, 2, SEEN_PORT)],
		["an MSR that KVM does not have", call(0, 31, 0x4000_1234)],
		["a WRMSR of an MSR that a TD's VMM does not emulate (IA32_TIME_STAMP_COUNTER)", call(0, 32, 0x10, 1)],
		["a WRMSR of an MSR that can only be read (IA32_APIC_BASE)", call(0, 32, 0x1b, 0xfee0_0d00)],
		["a RDMSR of an x2APIC register that the processor virtualizes (EOI)", call(0, 31, 0x80b)],
		["a WRMSR of a value that the register refuses", call(0, 32, 0x83f, 0xffff_ffff_ffffn)],
	])("%s is an invalid operand", (_what, code) => {
		expect(resultOf(code)[0]).toBe(INVALID_OPERAND);
	});

	it("<Instruction.CPUID> answers in R12-R15 and leaves R11", () => {
		const { machine } = machineWith({ program: [...call(0, 10, 0x4000_0000), ...copy(11, 13), ...tell] });
		const output = [0, 0, 0, 0].map(() => nextOutput(machine));
		expect(output[0]).toBe(0);
		expect(output[2]).toBe(machine.vcpu.cpuid.find(({ leaf }) => leaf === 0x4000_0000)?.ebx ?? 0);
	});

	it("<Instruction.RDMSR> gives the value in R11", () => {
		expect(resultOf(call(0, 31, 0x6e0), ({ vcpu }) => vcpu.apic?.setTscDeadline(0))).toEqual([0n, 0n]);
	});

	it("<Instruction.HLT> halts the vCPU", () => {
		const { machine } = machineWith({ program: call(0, 12) });
		kvmRun(machine.vcpu);
		expect([machine.vcpu.run.exitReason, machine.vcpu.mpState]).toEqual([KVM_EXIT.HLT, MP_STATE.HALTED]);
		expect(machine.vcpu.stat.haltExits).toBe(1);
	});

	it("KVM's hypercalls: KVM_HC_VAPIC_POLL_IRQ gives 0, an unknown one -KVM_ENOSYS", () => {
		expect(resultOf(call(1, 0))[0]).toBe(0n);
		expect(resultOf(call(0x777, 0))[0]).toBe(BigInt.asUintN(64, -1000n));
	});

	it("an unknown sub-function, <MapGPA> too when user space does not take it, is unsupported", () => {
		expect(resultOf(call(0, 0x10099))[0]).toBe(SUBFUNCTION_UNSUPPORTED);
		const notAsked = ({ vm }: Machine) => {
			vm.hypercallExits = 0;
		};
		expect(resultOf(call(0, 0x10001, 0x5000, 0x1000), notAsked)).toEqual([SUBFUNCTION_UNSUPPORTED, 0x5000n]);
	});

	it("<MapGPA> asks user space for 2 MiB at a time, with KVM_HC_MAP_GPA_RANGE", () => {
		const { machine, vmm } = machineWith({
			program: [
				...call(0, 0x10001, BigInt(SHARED_BIT) + 0x2_0000_0000n, 0x50_0000),
				...copy(10, 13),
				...tell,
			],
		});
		const asked: bigint[][] = [];
		for (;;) {
			kvmRun(machine.vcpu);
			const { exitReason, hypercall } = machine.vcpu.run;
			if (exitReason !== KVM_EXIT.HYPERCALL) break;
			expect(hypercall.nr).toBe(12);
			asked.push([...hypercall.args]);
			expect(vmm.afterRun()).toBeNull();
		}
		expect(asked).toEqual([
			[0x2_0000_0000n, 512n, 0n],
			[0x2_0020_0000n, 512n, 0n],
			[0x2_0040_0000n, 256n, 0n],
		]);
		expect(machine.vcpu.run.exitReason).toBe(KVM_EXIT.IO);
	});

	it("<MapGPA> of no whole pages, or of private and shared ones, is the TD's mistake", () => {
		expect(resultOf(call(0, 0x10001, 0x2_0000_0800n, 0x1000))).toEqual([
			0x8000_0000_0000_0002n,
			0x2_0000_0800n,
		]);
		const across = BigInt(SHARED_BIT) - 0x1000n;
		expect(resultOf(call(0, 0x10001, across, 0x2000))).toEqual([0x8000_0000_0000_0000n, across]);
	});

	it("<GetTdVmCallInfo> for leaf 0 is success with zeros", () => {
		expect(resultOf(call(0, 0x10000))).toEqual([0n, 0n]);
	});

	it("shows in the statistics as the exit that it stands for", () => {
		const { machine } = machineWith({ program: [...call(0, 10), ...call(1, 0), ...out(1)] });
		nextOutput(machine);
		const { byReason } = machine.vcpu.stat;
		expect([byReason.get(10), byReason.get(18), byReason.get(30), byReason.get(77)]).toEqual([
			1,
			1,
			1,
			undefined,
		]);
	});
});

describe("tdx_handle_exit", () => {
	it("a triple fault is KVM_EXIT_SHUTDOWN", () => {
		const { vmm } = machineWith({ program: [], start32: [0x0f, 0x0b] });
		expect(vmm.run()).toEqual({ kind: "triple-fault" });
	});

	it("memory that was not added ends the run", () => {
		const { vmm } = machineWith({ program: [...mov(R.rbx, TD_AT.absent), 0x48, 0x8b, 0x03] });
		expect(vmm.run()).toMatchObject({
			kind: "internal-error",
			message: expect.stringMatching(/EPT violation/),
		});
	});

	it("a fatal error that the TD reports ends the run", () => {
		const { vmm } = machineWith({ program: call(0, 0x10003, 5) });
		expect(vmm.run()).toMatchObject({
			kind: "internal-error",
			message: expect.stringMatching(/fatal error 0x5/),
		});
	});

	it("memory cannot be added once the TD is finalized", () => {
		const { machine } = machineWith({ program: JMP_SELF });
		expect(() => tdxInitMemRegion(machine.vcpu, 0xffe0_0000, new Uint8Array(1))).toThrow(SeamcallError);
	});

	it("an entry that the module refused is no exit, and nothing stale is taken for one", () => {
		const { machine } = machineWith({ program: JMP_SELF });
		const { vcpu } = machine;
		vcpu.tdx!.td.exitReason = 1;
		expect(tdxToVmxExitReason(vcpu, TDX_STATUS.opStateIncorrect, 1)).toBe(NO_EXIT_REASON);
		vcpu.vt.exitReason = NO_EXIT_REASON;
		vcpu.tdx!.status = TDX_STATUS.opStateIncorrect;
		expect(tdxHandleExit(vcpu)).toBe(0);
		expect([vcpu.run.exitReason, vcpu.run.message]).toEqual([
			KVM_EXIT.INTERNAL_ERROR,
			"TDH.VP.ENTER returned status 0xc0000608",
		]);
	});

	it("TDX_OPERAND_BUSY leaves the fastpath as handled, so that the sender of a kick is not kept waiting, and the run goes on", () => {
		const { machine } = machineWith({ program: out(7) });
		const { cpu, vcpu } = machine;
		const { td } = vcpu.tdx!.td;
		td.busy = true;
		const fastpaths: number[] = [];
		cpu.observer = {
			onOp: (_cpu, op) => {
				if (op === OP.guest_timing_exit) fastpaths.push(vcpu.exitFastpath);
				if (fastpaths.length === 2) td.busy = false;
			},
		};
		expect(nextOutput(machine)).toBe(7);
		expect(fastpaths).toEqual([FASTPATH.EXIT_HANDLED, FASTPATH.EXIT_HANDLED, FASTPATH.NONE]);
	});

	it("an NMI just resumes the TD: it was handled with interrupts off", () => {
		const { machine } = machineWith({ program: out(7) });
		whenEntered(machine, () => {
			machine.cpu.pending |= PENDING.nmi;
		});
		expect(nextOutput(machine)).toBe(7);
		expect([machine.kernel.nmis, machine.cpu.nmiBlocked]).toEqual([1, false]);
		expect(machine.vcpu.stat.byReason.get(0)).toBe(1);
	});

	it.each([
		["in the TD", KVM_EXIT.INTERNAL_ERROR],
		["during the entry", KVM_EXIT.FAIL_ENTRY],
	])("a machine check %s is handled once, and ends the VM: the module has disabled the TD", (where, exit) => {
		const { machine } = machineWith({ program: out(7) });
		const { cpu, kernel, vcpu } = machine;
		if (where === "during the entry") cpu.machineCheckDuringEntry = true;
		else
			whenEntered(machine, () => {
				cpu.pending |= PENDING.machineCheck;
			});
		expect(kvmRun(vcpu)).toBe(0);
		expect([vcpu.run.exitReason, kernel.machineChecks, cpu.read32(L.MCG_STATUS) & 4]).toEqual([exit, 1, 0]);
		// Whoever tries again gets no further.
		kvmRun(vcpu);
		expect([vcpu.run.exitReason, vcpu.run.message]).toEqual([
			KVM_EXIT.INTERNAL_ERROR,
			"TDH.VP.ENTER returned status 0xe0000604",
		]);
	});

	it("an interrupt that ended the TD's run is serviced once, and counted", () => {
		const { machine } = machineWith({ program: out(7) });
		whenEntered(machine, () => machine.apic.raise(HOST_VECTOR.device));
		expect(nextOutput(machine)).toBe(7);
		expect(machine.kernel.interruptCounts[HOST_VECTOR.device]).toBe(1);
		expect(machine.vcpu.stat.irqExits).toBe(1);
		// It is out of service: another of the same vector comes through.
		machine.apic.raise(HOST_VECTOR.device);
		machine.cpu.poll();
		expect(machine.kernel.interruptCounts[HOST_VECTOR.device]).toBe(2);
	});
});

/** Once, when the TD has been entered. */
function whenEntered({ cpu }: Machine, what: () => void): void {
	cpu.observer = {
		onOp: () => {},
		onGuestEntry: () => {
			cpu.observer = null;
			what();
		},
	};
}

describe("the host's registers", () => {
	const USER_MSRS = [L.SFMASK, L.STAR, L.LSTAR, L.TSC_AUX] as const;
	const read = ({ cpu }: Machine, fields: readonly number[]) => fields.map((field) => cpu.read64(field));

	it("user-return MSRs are the module's inside the run loop and the host's in user space (bug 24)", () => {
		const { machine } = machineWith({ program: [...out(1), ...out(2)] });
		const { cpu } = machine;
		const host = [0x47700n, 0x0023_0010_0000_0000n, 0xffff_ffff_8100_0000n, 5n];
		for (const [n, field] of USER_MSRS.entries()) cpu.write64(field, host[n]!);
		machine.kernel.userReturn.online(USER_MSRS);
		let inside: bigint[] = [];
		cpu.observer = {
			onOp: (_cpu, op) => {
				if (op === OP.seamret) inside = read(machine, USER_MSRS);
			},
		};
		for (const value of [1, 2]) {
			expect(nextOutput(machine)).toBe(value);
			expect(inside).toEqual([0x20200n, 0n, 0n, 0n]);
			expect(read(machine, USER_MSRS)).toEqual(host);
		}
	});

	it("user-return MSRs come back when the TD could not be entered at all (commit c0711f8c610e)", () => {
		const { machine } = machineWith({ program: out(1) });
		const { cpu, vcpu } = machine;
		cpu.write64(L.LSTAR, 0xffff_ffff_8100_0000n);
		machine.kernel.userReturn.online(USER_MSRS);
		vcpu.tdx!.td.td.finalized = false;
		kvmRun(vcpu);
		expect(vcpu.run.exitReason).toBe(KVM_EXIT.INTERNAL_ERROR);
		expect(cpu.read64(L.LSTAR)).toBe(0xffff_ffff_8100_0000n);
	});

	it("KERNEL_GS_BASE comes back with vcpu_put, also when the task was switched out between", () => {
		const { machine } = machineWith({ program: [...out(1), ...out(2)] });
		const { cpu, kernel, apic } = machine;
		kernel.current.gsBase = 0x7f00_1234_5000n;
		cpu.write64(L.KERNEL_GS_BASE, 0x7f00_1234_5000n);
		expect(nextOutput(machine)).toBe(1);
		expect(cpu.read64(L.KERNEL_GS_BASE)).toBe(0x7f00_1234_5000n);
		whenEntered(machine, () => {
			kernel.current.needResched = true;
			apic.raise(HOST_VECTOR.reschedule);
		});
		expect(nextOutput(machine)).toBe(2);
		expect(cpu.read64(L.KERNEL_GS_BASE)).toBe(0x7f00_1234_5000n);
	});

	/** Ops of the state swap per TDH.VP.ENTER. */
	const swaps = (options: Options): { xsetbv: number; xss: number; wrpkru: number; state: unknown } => {
		const { machine } = machineWith({ program: [...call(1, 0), ...call(1, 0), ...out(1)] }, options);
		const { cpu } = machine;
		const counts = () =>
			[OP.xsetbv, OP["wrmsr(ia32_xss)"], OP.wrpkru, OP.seamcall].map((op) => cpu.opCounts[op]!);
		const before = counts();
		nextOutput(machine);
		const [xsetbv, xss, wrpkru, entries] = counts().map((count, n) => count - before[n]!);
		return {
			xsetbv: xsetbv! / entries!,
			xss: xss! / entries!,
			wrpkru: wrpkru! / entries!,
			state: [cpu.xcr0, cpu.xss, cpu.pkru],
		};
	};

	it("tdx_load_host_xsave_state writes what differs from XFAM, PKRU when the host's is not 0, and nothing else", () => {
		const { xcr0, xss } = emeraldRapids.features;
		const pkru = 0x5555_5554;
		expect(swaps({})).toEqual({ xsetbv: 1, xss: 1, wrpkru: 1, state: [xcr0, xss, pkru] });
		expect(swaps({ xcr0: 0x2e7, xss: 0 })).toEqual({ xsetbv: 0, xss: 0, wrpkru: 1, state: [0x2e7, 0, pkru] });
		expect(swaps({ xcr0: 0x2e7 })).toEqual({ xsetbv: 0, xss: 1, wrpkru: 1, state: [0x2e7, xss, pkru] });
	});

	it("without tdx_load_host_xsave_state the kernel goes on with XFAM's: the restore is KVM's, not the module's", () => {
		const tree = applyPatches(
			v618,
			[{ title: "test", source: "", edits: [remove("tdx_load_host_xsave_state", "tdx_vcpu_run")] }],
			"test",
			"",
		);
		const { machine } = machineWith({ program: out(1) }, { tree });
		let seen: unknown = null;
		const { cpu } = machine;
		cpu.observer = {
			onOp: (_cpu, op) => {
				if (op === OP.context_tracking_exit) seen = [cpu.xcr0, cpu.xss, cpu.pkru];
			},
		};
		expect(() => nextOutput(machine)).toThrow(/#GP in the host kernel/);
		expect(seen).toEqual([0x2e7, 0, 0]);
	});

	it.each([
		["0 stays", 0, 0],
		["bits that the module preserves need no write", 0x5002, 0],
		["bits that it loses are written back", 0x41, 1],
		["bits of both kinds are written back together", 0x4041, 1],
	])("DEBUGCTL: %s (bug 22)", (_what, value, writes) => {
		const { machine } = machineWith({ program: out(1) });
		const { cpu } = machine;
		cpu.write64(L.DEBUGCTL, BigInt(value));
		nextOutput(machine);
		expect(cpu.readNumber(L.DEBUGCTL)).toBe(value);
		expect(cpu.opCounts[OP["wrmsr(ia32_debugctl)"]]).toBe(writes);
	});

	it("the TD keeps its own XCR0 across exits, and its host keeps its", () => {
		const { machine } = machineWith({
			program: [...edxEaxEcx(7n, 0), ...XSETBV, ...out(1), ...out(2), ...TDCALL],
		});
		const { cpu, vcpu } = machine;
		for (const value of [1, 2]) {
			expect(nextOutput(machine)).toBe(value);
			expect(tdExtendedState(vcpu.tdx!.td)).toMatchObject({ xcr0: 7 });
			expect(cpu.xcr0).toBe(emeraldRapids.features.xcr0);
		}
	});
});
