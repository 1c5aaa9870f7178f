/** Instructions of VMX, SVM and TDX inside a guest, and cache control. Outside a guest, host code is no machine code. */
import type { Cpu } from "../cpu/cpu.ts";
import { GP0, UD } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import { explicitAccess, faulted, probeLinear } from "../paging/access.ts";
import { Mnemonic } from "../translate/decode.ts";
import { OUTCOME } from "../translate/services.ts";
import { fail, type Handler, intercepted, memoryOperand, privileged } from "./operands.ts";

/** Exits if a hypervisor wants it; otherwise #UD, because there is nothing behind it. */
function exitOrUndefined(intercept: (typeof INTERCEPT)[keyof typeof INTERCEPT]): Handler {
	return (cpu, insn) => (intercepted(cpu, insn, intercept) ? OUTCOME.stop : fail(cpu, UD));
}

/** The same for instructions that need level 0 first. */
function privilegedExitOrUndefined(intercept: (typeof INTERCEPT)[keyof typeof INTERCEPT], info = 0): Handler {
	return (cpu, insn) => {
		if (cpu.guest === null) return fail(cpu, UD);
		if (!privileged(cpu)) return fail(cpu, GP0);
		return intercepted(cpu, insn, intercept, info) ? OUTCOME.stop : fail(cpu, UD);
	};
}

/** INVD and WBINVD: caches are not modelled, so without an exit they change nothing. */
function cacheFlush(intercept: typeof INTERCEPT.invd | typeof INTERCEPT.wbinvd): Handler {
	return (cpu, insn) => {
		if (!privileged(cpu)) return fail(cpu, GP0);
		return intercepted(cpu, insn, intercept) ? OUTCOME.stop : OUTCOME.next;
	};
}

/** CLFLUSH and its kin check their operand like a load of one byte. */
const flushLine: Handler = (cpu, insn) => {
	const linear = memoryOperand(cpu, insn, 1);
	if (faulted(cpu) || !probeLinear(cpu, linear, 1, explicitAccess(cpu))) return OUTCOME.fault;
	return OUTCOME.next;
};

const nothing: Handler = () => OUTCOME.next;

const isIntel = (cpu: Cpu) => cpu.model.vendorString === "GenuineIntel";

/** VMX instructions are undefined on AMD, SVM instructions on Intel. */
function ofVendor(intel: boolean, handler: Handler): Handler {
	return (cpu, insn) => (isIntel(cpu) === intel ? handler(cpu, insn) : fail(cpu, UD));
}

const VMX = [
	Mnemonic.Vmclear,
	Mnemonic.Vmlaunch,
	Mnemonic.Vmptrld,
	Mnemonic.Vmptrst,
	Mnemonic.Vmread,
	Mnemonic.Vmresume,
	Mnemonic.Vmwrite,
	Mnemonic.Vmxoff,
	Mnemonic.Vmxon,
	Mnemonic.Invept,
	Mnemonic.Invvpid,
];

/** With the distance of the #VMEXIT code from VMRUN's (APM Vol. 2, Appendix C). */
const SVM = [
	[Mnemonic.Vmrun, 0],
	[Mnemonic.Vmload, 2],
	[Mnemonic.Vmsave, 3],
	[Mnemonic.Stgi, 4],
	[Mnemonic.Clgi, 5],
	[Mnemonic.Skinit, 6],
	[Mnemonic.Invlpga, -6],
] as const;

/** RSM outside system-management mode is undefined. SVM may intercept it; VMX exits in that mode alone (SDM Vol. 3C, 26.1.3). */
const rsm: Handler = (cpu, insn) => {
	return intercepted(cpu, insn, INTERCEPT.rsm) ? OUTCOME.stop : fail(cpu, UD);
};

/** Handlers by iced-x86 `Mnemonic`. */
export const virtualizationHandlers: readonly (readonly [number, Handler])[] = [
	...VMX.map((mnemonic) => [mnemonic, ofVendor(true, exitOrUndefined(INTERCEPT.vmx))] as const),
	...SVM.map(
		([mnemonic, code]) =>
			[mnemonic, ofVendor(false, privilegedExitOrUndefined(INTERCEPT.svm, code))] as const,
	),
	[Mnemonic.Vmcall, ofVendor(true, exitOrUndefined(INTERCEPT.vmcall))],
	[Mnemonic.Vmmcall, ofVendor(false, exitOrUndefined(INTERCEPT.vmcall))],
	[Mnemonic.Tdcall, ofVendor(true, privilegedExitOrUndefined(INTERCEPT.tdcall))],
	[Mnemonic.Encls, ofVendor(true, privilegedExitOrUndefined(INTERCEPT.encls))],
	[Mnemonic.Rsm, rsm],
	[Mnemonic.Invd, cacheFlush(INTERCEPT.invd)],
	[Mnemonic.Wbinvd, cacheFlush(INTERCEPT.wbinvd)],
	[Mnemonic.Wbnoinvd, cacheFlush(INTERCEPT.wbinvd)],
	[Mnemonic.Clflush, flushLine],
	[Mnemonic.Clflushopt, flushLine],
	[Mnemonic.Clwb, flushLine],
	[Mnemonic.Serialize, nothing],
];
