/**
 * The debug registers are the host's whenever a breakpoint of the host may be hit: no breakpoint of the guest is ever
 * enabled in the host, and perf's are there again before interrupts are.
 *
 * VM exit clears DR7 and leaves the guest's addresses in DR0-DR3. While nobody uses breakpoints on this CPU that does
 * not matter; otherwise they must come back, or perf's events stop, or fire at the guest's addresses.
 *
 * Between guest_state_enter_irqoff() and guest_state_exit_irqoff() no breakpoint may be hit: RCU does not watch, and the
 * guest's registers are loaded (noinstr).
 *
 * Not covered: ptrace's breakpoints, which come and go with a context switch; switches under the #MC handler of before 2020,
 * which sleeps where the registers are not restored yet.
 */
import { DR7_ENABLES } from "../../host/hw-breakpoint.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { OP } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

const hex = (value: number) => `0x${(value >>> 0).toString(16)}`;

export const hostDebugRegisters: Property = {
	name: "host-debug-registers",
	title: "breakpoints in the host are the host's, and are there when interrupts are enabled",
	degree: "violation",
	onOp({ machine: { cpu, kernel } }, op) {
		const dr7 = cpu.read32(L.DR7);
		const sleepsInHandler = op === OP.switch_to && kernel.mceHandler === "schedule";
		const relies =
			(op === OP.sti && cpu.gif) || (op === OP.switch_to && !sleepsInHandler) || op === OP.user_transition;
		if ((dr7 & DR7_ENABLES) === 0 && !(relies && kernel.breakpoints.active && kernel.handlerDepth === 0))
			return null;
		if (relies && kernel.handlerDepth === 0 && dr7 !== kernel.breakpoints.dr7)
			return `DR7 is ${hex(dr7)}, the host's is ${hex(kernel.breakpoints.dr7)}`;
		if (
			kernel.guestContext.inGuest &&
			kernel.handlerDepth === 0 &&
			cpu.guest === null &&
			kernel.breakpoints.active
		)
			return `DR7 is ${hex(dr7)} next to the guest, where the kernel can take no breakpoint`;
		if (op === OP.mov_to_dr) return null;
		for (let n = 0; n < 4; n++) {
			const address = kernel.breakpoints.addresses[n]!;
			if ((dr7 & (3 << (2 * n))) !== 0 && cpu.readNumber(L.DR0 + 8 * n) !== address)
				return `breakpoint ${n} is enabled at ${hex(cpu.readNumber(L.DR0 + 8 * n))}, the host's is at ${hex(address)}`;
		}
		return null;
	},
};
