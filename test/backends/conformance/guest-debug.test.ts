/** KVM_SET_GUEST_DEBUG: what a debugger in user space sees of a guest, and the guest of it. */
import { expect } from "vitest";
import { GUESTDBG } from "../../../src/kvm/requests.ts";
import { gapOf } from "../../../src/backends/gaps.ts";
import type { KvmVcpu } from "../../../src/uapi/api.ts";
import { ASM, onEachMachine, realModeGuest } from "./driver.ts";

const STEP = GUESTDBG.ENABLE | GUESTDBG.SINGLESTEP;
const DR6_BS = 1n << 14n;
const NOP = 0x90;
const STI = 0xfb;
const INT3 = 0xcc;

/** Runs on to the next KVM_EXIT_DEBUG. @returns where it is, and what DR6 says of it */
function debugged(vcpu: KvmVcpu): { readonly pc: number; readonly dr6: bigint; readonly exception: number } {
	const exit = vcpu.run();
	if (exit.reason !== "debug") throw new Error(`want debug, have ${exit.reason}`);
	return { pc: Number(exit.pc), dr6: exit.dr6, exception: exit.exception };
}

onEachMachine("KVM_SET_GUEST_DEBUG", (bench) => {
	const emulated = gapOf(bench.machine.module, "emulated-steps");
	bench.states("steps over one instruction a KVM_RUN, those too that KVM executes", () => {
		const cpuid = [0x0f, 0xa2];
		const { vcpu } = realModeGuest(bench.kvm, [...ASM.movAl(1), NOP, ...cpuid, NOP, ...ASM.hlt]);
		vcpu.setGuestDebug(STEP);
		const steps = [1, 2, 3, 4].map(() => debugged(vcpu));
		expect(steps.map(({ pc }) => pc)).toEqual([0x1002, 0x1003, 0x1005, 0x1006]);
		for (const { dr6, exception } of steps) {
			expect(dr6 & DR6_BS).toBe(DR6_BS);
			expect(exception).toBe(1);
		}
	});

	bench.states(
		"steps over an access that user space serves when it has served it",
		() => {
			const { vcpu } = realModeGuest(bench.kvm, [...ASM.out(0x10), NOP, ...ASM.hlt]);
			vcpu.setGuestDebug(STEP);
			expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x10 });
			expect(debugged(vcpu).pc).toBe(0x1002);
			expect(debugged(vcpu).pc).toBe(0x1003);
		},
		emulated,
	);

	bench.states("hides RFLAGS.TF, and lets the guest go without it", () => {
		const { vcpu } = realModeGuest(bench.kvm, [NOP, NOP, ...ASM.hlt]);
		vcpu.setGuestDebug(STEP);
		debugged(vcpu);
		expect(vcpu.getRegs().rflags & 0x100n).toBe(0n);
		vcpu.setGuestDebug(0);
		expect(vcpu.run().reason).toBe("hlt");
		expect(vcpu.getRegs().rflags & 0x100n).toBe(0n);
	});

	bench.states("steps over STI, in whose shadow VM entry would want to see the step", () => {
		const { vcpu } = realModeGuest(bench.kvm, [STI, NOP, ...ASM.hlt]);
		vcpu.setGuestDebug(STEP);
		expect([debugged(vcpu).pc, debugged(vcpu).pc]).toEqual([0x1001, 0x1002]);
	});

	bench.states("stops at a breakpoint of the debugger's, and leaves the guest its own registers", () => {
		const { vcpu } = realModeGuest(bench.kvm, [NOP, NOP, NOP, ...ASM.hlt]);
		const before = vcpu.getDebugregs();
		vcpu.setGuestDebug(GUESTDBG.ENABLE | GUESTDBG.USE_HW_BP, [0x1002n, 0n, 0n, 0n, 0n, 0n, 0n, 0x401n]);
		const { pc, dr6 } = debugged(vcpu);
		expect([pc, dr6 & 0xfn]).toEqual([0x1002, 1n]);
		expect(vcpu.getDebugregs()).toEqual(before);
		vcpu.setGuestDebug(0);
		expect(vcpu.run().reason).toBe("hlt");
	});

	bench.states(
		"stops at an INT3 of the debugger's, which the guest does not see",
		() => {
			const { vcpu } = realModeGuest(bench.kvm, [NOP, INT3, ...ASM.hlt]);
			vcpu.setGuestDebug(GUESTDBG.ENABLE | GUESTDBG.USE_SW_BP);
			expect(debugged(vcpu)).toMatchObject({ pc: 0x1001, exception: 3 });
		},
		emulated,
	);

	bench.states(
		"injects the #BP that was the guest's own",
		() => {
			// PUSH AX; MOV AX, [0]: what the delivery touches is there.
			const { vcpu, memory } = realModeGuest(bench.kvm, [0x50, 0xa1, 0, 0, INT3]);
			// The real-mode vector 3 leads to a HLT at 2000H.
			memory.write(12, Uint8Array.of(0, 0x20, 0, 0));
			memory.write(0x2000, Uint8Array.from(ASM.hlt));
			vcpu.setGuestDebug(GUESTDBG.ENABLE | GUESTDBG.USE_SW_BP);
			expect(debugged(vcpu).pc).toBe(0x1004);
			vcpu.setGuestDebug(GUESTDBG.ENABLE | GUESTDBG.USE_SW_BP | GUESTDBG.INJECT_BP);
			expect(vcpu.run().reason).toBe("hlt");
			expect(vcpu.getRegs().rip).toBe(0x2001n);
		},
		emulated,
	);
});
