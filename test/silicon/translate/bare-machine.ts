/** A processor on flat memory: identity translation, HLT ends the run, faults are recorded and end it too. */
import { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { raise, raisePageFault, VECTOR } from "../../../src/silicon/cpu/fault.ts";
import { flushJumpCache } from "../../../src/silicon/cpu/jump-cache.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { tlbOffset } from "../../../src/silicon/cpu/tlb-index.ts";
import { MachineMemory } from "../../../src/silicon/machine.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { Mnemonic } from "../../../src/silicon/translate/decode.ts";
import type { Insn } from "../../../src/silicon/translate/insn.ts";
import {
	type BeforeInstruction,
	OUTCOME,
	type Outcome,
	type Services,
} from "../../../src/silicon/translate/services.ts";
import { Translator } from "../../../src/silicon/translate/translator.ts";

export const RAM_BYTES = 4 * 1024 * 1024;

/** An exception that ended a run. */
export interface Fault {
	readonly vector: number;
	readonly rip: bigint;
	readonly linear: bigint;
}

export class BareMachine implements Services {
	readonly memory = new MachineMemory(1, RAM_BYTES);
	readonly cpu = new Cpu(this.memory, turin);
	readonly translator = new Translator(this.memory, turin, this);
	readonly modules: Uint8Array<ArrayBuffer>[] = [];
	/** Pages that fault when accessed, and when written. */
	readonly absent = new Set<number>();
	readonly readOnly = new Set<number>();
	fault: Fault | null = null;
	/** What system instructions other than HLT do. */
	onSystem: (insn: Insn) => Outcome = () => OUTCOME.next;
	onBoundary: () => boolean = () => {
		this.cpu.deadline = Number.POSITIVE_INFINITY;
		return false;
	};
	boundaries = 0;

	constructor(bitness: 32 | 64 = 64) {
		this.translator.onModule = (bytes) => this.modules.push(bytes);
		const { cpu } = this;
		flushJumpCache(cpu);
		cpu.write32(L.EFER, bitness === 64 ? 0x500 : 0);
		cpu.write32(L.CR0, 0x11);
		for (let segment = 0; segment < 6; segment++) {
			const attributes = segment === L.CS ? (bitness === 64 ? 0xa09b : 0xc09b) : 0xc093;
			cpu.write32(L.SEG + segment * L.SEG_BYTES + L.SEG_ATTR, attributes);
			cpu.write32(L.SEG + segment * L.SEG_BYTES + L.SEG_LIMIT, 0xffffffff);
		}
		cpu.write32(L.RFLAGS, 2);
	}

	flushTlb(): void {
		const start = this.cpu.base;
		this.memory.u8.fill(0xff, start + L.TLB_READ, start + L.TLB_FETCH);
	}

	/** Puts bytes at a physical address. */
	poke(address: number, bytes: ArrayLike<number>): void {
		this.memory.u8.set(bytes, this.memory.ramBase + address);
	}

	/** Runs from an address until HLT or a fault. */
	run(rip: number): void {
		this.fault = null;
		this.cpu.write32(L.FAULT, 0);
		this.cpu.writeNumber(L.RIP, rip);
		this.translator.execute(this.cpu);
	}

	/** @returns the Wasm offset, or -1 with a page fault noted */
	private resolve(linear: bigint, write: boolean): number {
		const page = Number(linear >> 12n);
		if (linear >= BigInt(RAM_BYTES) || this.absent.has(page) || (write && this.readOnly.has(page))) {
			raisePageFault(this.cpu, Number(linear & 0xffffffffn), Number(linear >> 32n), write ? 2 : 0);
			return -1;
		}
		if (!write || this.memory.codePages[page] === 0) {
			const table = write ? L.TLB_WRITE : L.TLB_READ;
			const entry = this.cpu.base + table + tlbOffset((page << 12) >>> 0);
			this.memory.u64[entry >> 3] = BigInt(page * 4096);
			this.memory.u32[(entry + 8) >> 2] = this.memory.ramBase;
		}
		return this.memory.ramBase + Number(linear);
	}

	checkBranch(): void {}
	deliverPendingDebug(): boolean {
		throw new Error("no #DB is expected here");
	}
	awaitsEndbranch(): boolean {
		return false;
	}
	checkEndbranch(): boolean {
		return true;
	}
	breaksBefore(): boolean {
		return false;
	}
	beforeInstruction(cpu: Cpu): BeforeInstruction {
		return { rip: cpu.read64(L.RIP), singleStep: false, pending: 0 };
	}
	afterInstruction(): boolean {
		return false;
	}

	fetch(cpu: Cpu, linear: bigint): number {
		const page = Number(linear >> 12n);
		if (linear < BigInt(RAM_BYTES) && !this.absent.has(page)) {
			if (this.memory.codePages[page] === 0) this.flushTlb();
			return this.memory.ramBase + Number(linear);
		}
		raisePageFault(cpu, Number(linear & 0xffffffffn), Number(linear >> 32n), 16);
		return -1;
	}

	load(_cpu: Cpu, linear: bigint, bytes: number): bigint {
		let value = 0n;
		for (let at = 0; at < bytes; at++) {
			const host = this.resolve(linear + BigInt(at), false);
			if (host < 0) return 0n;
			value |= BigInt(this.memory.u8[host]!) << BigInt(8 * at);
		}
		return value;
	}

	store(cpu: Cpu, linear: bigint, bytes: number, value: bigint): void {
		this.probeStore(cpu, linear, bytes);
		if (cpu.read32(L.FAULT) !== 0) return;
		const first = Number(linear >> 12n);
		const last = Number((linear + BigInt(bytes - 1)) >> 12n);
		for (let page = first; page <= last; page++) {
			if (this.memory.codePages[page] !== 0) this.memory.onCodeWrite(page);
		}
		for (let at = 0; at < bytes; at++) {
			this.memory.u8[this.memory.ramBase + Number(linear) + at] = Number((value >> BigInt(8 * at)) & 0xffn);
		}
	}

	probeStore(_cpu: Cpu, linear: bigint, bytes: number): void {
		for (let at = 0; at < bytes; at++) if (this.resolve(linear + BigInt(at), true) < 0) return;
	}

	system(cpu: Cpu, insn: Insn): Outcome {
		if (insn.mnemonic === Mnemonic.Hlt) return OUTCOME.stop;
		if (insn.mnemonic === Mnemonic.INVALID) {
			raise(cpu, VECTOR.UD);
			return OUTCOME.fault;
		}
		return this.onSystem(insn);
	}

	deliverFault(cpu: Cpu): boolean {
		this.fault = {
			vector: cpu.read32(L.FAULT_VECTOR),
			rip: cpu.read64(L.RIP),
			linear: cpu.read64(L.FAULT_LINEAR),
		};
		cpu.write32(L.FAULT, 0);
		return true;
	}

	boundary(): boolean {
		this.boundaries++;
		return this.onBoundary();
	}
}
