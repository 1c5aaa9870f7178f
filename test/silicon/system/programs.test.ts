/** System instructions as machine code that a bare processor runs. */
import { describe, expect, it } from "vitest";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import { type Cpu, PENDING } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { OUTCOME } from "../../../src/silicon/translate/services.ts";
import { cpl } from "../../../src/silicon/cpu/modes.ts";
import { AT, peek64, poke64, SELECTOR, setGate, step, takeFault } from "../machine-code.ts";
import { ASM, bareMachine, program, programAt } from "../guest-machine.ts";

const handler = (vector: number) => AT.handler + vector * 16;
const USER = 0x60000;
const SYSCALL = [0x0f, 0x05];
const SYSRETQ = [0x48, 0x0f, 0x07];

function run(cpu: Cpu): void {
	cpu.halted = "no";
	cpu.execute(cpu);
}

/** The vector whose handler halted the processor. */
function halted(cpu: Cpu): number | "shutdown" {
	if (cpu.halted === "shutdown") return "shutdown";
	return (Number(cpu.read64(L.RIP)) - 1 - AT.handler) / 16;
}

describe("between level 0 and level 3", () => {
	it("IRETQ to user code, SYSCALL, SYSRETQ, INT 80h: levels, stacks, RCX, R11 and the frame on RSP0", () => {
		const { cpu } = bareMachine("vmx");
		for (const [n, value] of [
			USER,
			SELECTOR.userCode,
			0x3002,
			AT.data + 0x800,
			SELECTOR.userData,
		].entries()) {
			poke64(cpu, AT.stack + n * 8, BigInt(value));
		}
		program(cpu, ASM.iretq);
		programAt(cpu, USER, SYSCALL, ASM.int80);
		programAt(cpu, USER + 0x100, SYSRETQ);
		cpu.write64(L.STAR, (0x13n << 48n) | (8n << 32n));
		cpu.write64(L.LSTAR, BigInt(USER + 0x100));
		cpu.write64(L.SFMASK, 0x200n);
		cpu.write32(L.EFER, cpu.read32(L.EFER) | 1);
		run(cpu);
		expect(halted(cpu)).toBe(0x80);
		expect(cpl(cpu)).toBe(0);
		expect([cpu.gpr(L.RCX), cpu.gpr(11)]).toEqual([BigInt(USER + 2), 0x3002n]);
		const top = AT.kernelStack - 40;
		expect(cpu.gpr(L.RSP)).toBe(BigInt(top));
		expect([0, 8, 16, 24, 32].map((at) => peek64(cpu, top + at))).toEqual(
			[USER + 4, SELECTOR.userCode, 0x3002, AT.data + 0x800, SELECTOR.userData].map(BigInt),
		);
	});

	it("INT n from level 3 through a gate of DPL 0 is #GP with the gate's index, and the saved RIP is the INT", () => {
		const { cpu } = bareMachine("vmx");
		setGate(cpu, 0x80, handler(0x80), 0xe, 0);
		for (const [n, value] of [USER, SELECTOR.userCode, 2, AT.data + 0x800, SELECTOR.userData].entries()) {
			poke64(cpu, AT.stack + n * 8, BigInt(value));
		}
		program(cpu, ASM.iretq);
		programAt(cpu, USER, ASM.int80);
		run(cpu);
		expect(halted(cpu)).toBe(13);
		expect(peek64(cpu, Number(cpu.gpr(L.RSP)))).toBe(BigInt(0x80 * 8 + 2));
		expect(peek64(cpu, Number(cpu.gpr(L.RSP)) + 8)).toBe(BigInt(USER));
	});
});

describe("faults on the way to a handler (SDM Vol. 3A, tables 7-4 and 7-5)", () => {
	const GP = [0x0f, 0x22, 0xc0]; // MOV CR0, RAX: PG without PE
	it.each([
		["#UD, its gate absent: #NP", ASM.ud2, [6], 11],
		["#UD, then #NP absent too: #DF", ASM.ud2, [6, 11], 8],
		["#GP, its gate absent: #DF", GP, [13], 8],
		["#PF, its gate absent: #DF", ASM.movRaxMemRbx, [14], 8],
		["#GP and #DF absent: shutdown", GP, [13, 8], "shutdown"],
		["INT 80h, its gate absent: #NP, no double fault", ASM.int80, [0x80], 11],
		["INT 80h, then #NP absent too: #DF", ASM.int80, [0x80, 11], 8],
	] as const)("%s", (_name, code, absent, wanted) => {
		const { cpu } = bareMachine("vmx");
		cpu.setGpr(L.RAX, 0x8000_0000n);
		cpu.setGpr(L.RBX, 0x7000_0000n);
		// A present gate's low half with P cleared.
		for (const vector of absent)
			poke64(cpu, AT.idt + vector * 16, peek64(cpu, AT.idt + vector * 16) & ~(1n << 47n));
		program(cpu, code);
		run(cpu);
		expect(halted(cpu)).toBe(wanted);
		if (wanted === 8) expect(peek64(cpu, Number(cpu.gpr(L.RSP)))).toBe(0n);
	});
});

describe("shadows and events of a bare processor", () => {
	it("STI holds an interrupt back for one instruction, MOV SS as well, and NMIs wait for MOV SS", () => {
		for (const [code, vector, stops] of [
			[[...ASM.sti, ...ASM.nop, ...ASM.nop], 0x44, 2],
			[[...ASM.sti, ...ASM.cli, ...ASM.nop], "none", 0],
			[[...ASM.movSsAx, ...ASM.nop, ...ASM.nop], 2, 3],
		] as const) {
			const { cpu, apic } = bareMachine("vmx");
			cpu.setGpr(L.RAX, BigInt(SELECTOR.kernelData));
			program(cpu, code);
			if (vector === 2) {
				// The NMI arrives in the shadow: a deadline ends with the load.
				cpu.deadline = 0;
				cpu.cycles = -1;
				cpu.onDeadline = (one) => {
					one.deadline = Number.POSITIVE_INFINITY;
					if (Number(one.read64(L.RIP)) === AT.code) one.deadline = one.cycles;
					else one.pending |= PENDING.nmi;
				};
			} else apic.raise(0x44);
			run(cpu);
			if (vector === "none") expect(cpu.read64(L.RIP)).toBe(BigInt(AT.code + 4));
			else {
				expect(halted(cpu)).toBe(vector);
				expect(Number(peek64(cpu, Number(cpu.gpr(L.RSP)))) - AT.code).toBe(stops);
			}
		}
	});

	it("a machine check goes to vector 18 with MCIP set; a second in progress, or one without CR4.MCE, is a shutdown", () => {
		const { cpu } = bareMachine("vmx");
		program(cpu, ASM.nop);
		cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.MCE);
		cpu.pending |= PENDING.machineCheck;
		run(cpu);
		expect(halted(cpu)).toBe(18);
		expect(cpu.read32(L.MCG_STATUS)).toBe(4);
		cpu.pending |= PENDING.machineCheck;
		run(cpu);
		expect(halted(cpu)).toBe("shutdown");
		const other = bareMachine("vmx").cpu;
		program(other, ASM.nop);
		other.pending |= PENDING.machineCheck;
		run(other);
		expect(halted(other)).toBe("shutdown");
	});

	it("CR8 takes 0 to 15 and sets the APIC's task priority, above is #GP(0)", () => {
		const { cpu, apic } = bareMachine("vmx");
		cpu.setGpr(L.RAX, 9n);
		program(cpu, ASM.movCr8Rax);
		run(cpu);
		expect(apic.taskPriority).toBe(0x90);
		const bad = bareMachine("vmx").cpu;
		bad.setGpr(L.RAX, 16n);
		program(bad, ASM.movCr8Rax);
		run(bad);
		expect(halted(bad)).toBe(13);
	});

	it("MOV to CR3 under PAE paging with reserved bits in a PDPTE is #GP(0) and leaves CR3 (SDM Vol. 3A, 5.4.1)", () => {
		const { cpu } = bareMachine("vmx");
		cpu.write64(L.CR3, 0x9000n);
		cpu.write32(L.EFER, 0);
		poke64(cpu, 0x9000, 0x5001n);
		poke64(cpu, 0xa000, 0x5003n);
		cpu.setGpr(L.RAX, 0xa000n);
		expect(step(cpu, ASM.movCr3Rax, 32)).toBe(OUTCOME.fault);
		expect(takeFault(cpu)).toEqual({ vector: 13, errorCode: 0 });
		expect(cpu.read64(L.CR3)).toBe(0x9000n);
	});
});
