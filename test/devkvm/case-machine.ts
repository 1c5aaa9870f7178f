/**
 * Cases of the native harness on the real /dev/kvm: each runs at level 3 of 64-bit mode and ends by INT3 or a fault, whose handler
 * halts. Memory is below 4 MiB: tables and handlers for level 0 only, the code's page and the window for level 3.
 */
import type { DevKvm } from "../../src/devkvm/system.ts";
import type { DevMemory } from "../../src/devkvm/vm.ts";
import type { DevVcpu } from "../../src/devkvm/vcpu.ts";
import type { CaseMachine } from "../silicon/vectors/compare.ts";
import { CODE, WINDOW, WINDOW_BYTES } from "../silicon/vectors/places.ts";
import { type CaseState, type Record, REGION_BYTES } from "../silicon/vectors/state.ts";

const AT = {
	pml4: 0x1000,
	pdpt: 0x2000,
	directory: 0x3000,
	tables: 0x4000,
	tss: 0x6000,
	gdt: 0x7000,
	idt: 0x8000,
	handlers: 0x9000,
	stack: 0xf000,
} as const;
const BYTES = 4 << 20;
const PRESENT = 1n;
const WRITABLE = 2n;
const USER = 4n;
const INT3 = 0xcc;
const HLT = 0xf4;
const BREAKPOINT = 3;
const FRAME = { rflags: AT.stack - 24, rsp: AT.stack - 16 } as const;

export class KvmCaseMachine implements CaseMachine {
	private readonly vcpu: DevVcpu;
	private readonly memory: DevMemory;
	private readonly view: DataView;
	private readonly sregs: ReturnType<DevVcpu["getSregs"]>;
	private readonly xsave: Uint8Array;
	private readonly xsaveView: DataView;
	private regs: ReturnType<DevVcpu["getRegs"]>;

	constructor(kvm: DevKvm) {
		const vm = kvm.createVm();
		this.memory = vm.addMemory({ slot: 0, gpa: 0, bytes: BYTES });
		this.view = new DataView(this.memory.bytes.buffer, this.memory.bytes.byteOffset, BYTES);
		this.vcpu = vm.createVcpu(0);
		this.vcpu.setCpuid2(kvm.supportedCpuid());
		this.buildTables();
		this.sregs = this.userMode();
		this.regs = this.vcpu.getRegs();
		this.vcpu.setSregs(this.sregs);
		this.vcpu.setXcrs([{ xcr: 0, value: 7n }]);
		this.xsave = new Uint8Array(4096);
		this.xsaveView = new DataView(this.xsave.buffer);
	}

	private put(address: number, ...words: readonly bigint[]): void {
		for (const [at, word] of words.entries()) this.view.setBigUint64(address + 8 * at, word, true);
	}

	private buildTables(): void {
		const rights = PRESENT | WRITABLE | USER;
		this.put(AT.pml4, BigInt(AT.pdpt) | rights);
		this.put(AT.pdpt, BigInt(AT.directory) | rights);
		this.put(AT.directory, BigInt(AT.tables) | rights, BigInt(AT.tables + 4096) | rights);
		for (let page = 0; page < BYTES >> 12; page++) {
			const address = page << 12;
			const isUser = address === CODE || (address >= WINDOW && address < WINDOW + WINDOW_BYTES);
			if (!isUser && address > AT.stack) continue;
			this.put(AT.tables + 8 * page, BigInt(address) | PRESENT | WRITABLE | (isUser ? USER : 0n));
		}
		// Null, code and data of level 0, data and code of level 3, the TSS.
		this.put(AT.gdt, 0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00cff3000000ffffn, 0x00affb000000ffffn);
		this.put(AT.gdt + 40, 0x00008b0000000067n | (BigInt(AT.tss) << 16n), 0n);
		this.put(AT.tss + 4, BigInt(AT.stack));
		for (let vector = 0; vector < 32; vector++) {
			const handler = AT.handlers + 16 * vector;
			this.memory.bytes[handler] = HLT;
			const level = vector === BREAKPOINT ? 3n : 0n;
			this.put(AT.idt + 16 * vector, BigInt(handler) | (8n << 16n) | ((0x8e00n | (level << 13n)) << 32n), 0n);
		}
	}

	private userMode(): ReturnType<DevVcpu["getSregs"]> {
		const sregs = this.vcpu.getSregs();
		const flat = { base: 0n, limit: 0xffffffff, present: 1, dpl: 3, s: 1, g: 1, avl: 0, unusable: 0 };
		const data = { ...sregs.ds, ...flat, selector: 0x1b, type: 3, db: 1, l: 0 };
		return {
			...sregs,
			cs: { ...sregs.cs, ...flat, selector: 0x23, type: 11, db: 0, l: 1 },
			ss: data,
			ds: data,
			es: data,
			fs: data,
			gs: data,
			tr: {
				...sregs.tr,
				base: BigInt(AT.tss),
				limit: 0x67,
				selector: 0x28,
				type: 11,
				present: 1,
				s: 0,
				g: 0,
			},
			gdt: { ...sregs.gdt, base: BigInt(AT.gdt), limit: 7 * 8 - 1 },
			idt: { ...sregs.idt, base: BigInt(AT.idt), limit: 32 * 16 - 1 },
			// PG, NE, ET, MP, PE; OSXSAVE, OSXMMEXCPT, OSFXSR, PAE; NXE, LMA, LME.
			cr0: 0x8000_0033n,
			cr3: BigInt(AT.pml4),
			cr4: 0x4_0620n,
			efer: 0xd00n,
		};
	}

	begin(record: Record): void {
		this.memory.bytes.fill(INT3, CODE, CODE + 4096);
		this.memory.bytes.set(record.bytes, CODE);
	}

	fillWindow(bytes: Uint8Array): void {
		this.memory.bytes.set(bytes, WINDOW);
	}

	run(record: Record, state: CaseState): number {
		const { vcpu } = this;
		new Uint8Array(state.memory.buffer).forEach((byte, at) => {
			this.memory.bytes[record.region + at] = byte;
		});
		const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] =
			state.gpr as never as bigint[];
		const rest = { rip: BigInt(CODE), rflags: BigInt(state.flags) };
		vcpu.setRegs({
			rax,
			rcx,
			rdx,
			rbx,
			rsp,
			rbp,
			rsi,
			rdi,
			r8,
			r9,
			r10,
			r11,
			r12,
			r13,
			r14,
			r15,
			...rest,
		} as never);
		vcpu.setSregs(this.sregs);
		this.loadX(record.classes === 0 ? null : state.x);
		const exit = vcpu.run();
		this.regs = vcpu.getRegs();
		if (exit.reason !== "hlt") throw new Error(`the case ended by ${exit.reason}`);
		this.xsave.set(vcpu.getXsave().subarray(0, 4096));
		const vector = (Number(this.regs.rip) - 1 - AT.handlers) / 16;
		return vector === BREAKPOINT ? -1 : vector;
	}

	/** The standard form of XSAVE, whose x87 registers are in the order of the stack. @param x null for the initial state */
	private loadX(x: BigUint64Array | null): void {
		const { xsave, xsaveView: view } = this;
		xsave.fill(0);
		view.setUint16(0, 0x37f, true);
		view.setUint32(24, 0x1f80, true);
		view.setBigUint64(512, 7n, true);
		if (x !== null) {
			view.setBigUint64(0, x[0]!, true);
			view.setUint32(24, Number(x[1]!), true);
			const top = Number(x[0]! >> 27n) & 7;
			for (let i = 0; i < 8; i++) {
				const register = (top + i) & 7;
				view.setBigUint64(32 + 16 * i, x[2 + 2 * register]!, true);
				view.setBigUint64(40 + 16 * i, x[3 + 2 * register]!, true);
			}
			for (let i = 0; i < 64; i++) {
				const at = ((i & 2) !== 0 ? 576 : 160) + 16 * (i >> 2) + 8 * (i & 1);
				view.setBigUint64(at, x[18 + i]!, true);
			}
		}
		this.vcpu.setXsave(xsave);
	}

	gpr(index: number): bigint {
		// INT3 and faults have put the level 3 stack pointer into their frame.
		if (index === 4) return this.view.getBigUint64(FRAME.rsp, true);
		const { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 } = this.regs;
		return [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15][index]!;
	}
	flags(): number {
		return this.view.getUint32(FRAME.rflags, true);
	}
	region(record: Record): BigUint64Array {
		const bytes = this.memory.bytes.slice(record.region, record.region + REGION_BYTES);
		return new BigUint64Array(bytes.buffer);
	}
	x(at: number): bigint {
		const { xsaveView: view } = this;
		if (at === 0) return view.getBigUint64(0, true) & 0xff_ffff_ffffn;
		if (at === 1) return BigInt(view.getUint32(24, true));
		const components = view.getBigUint64(512, true);
		if (at < 18) {
			const top = (view.getUint16(2, true) >> 11) & 7;
			const i = (((at - 2) >> 1) - top) & 7;
			const mask = (at & 1) === 0 ? 0xffff_ffff_ffff_ffffn : 0xffffn;
			return view.getBigUint64(32 + 16 * i + 8 * (at & 1), true) & mask;
		}
		const word = at - 18;
		const high = (word & 2) !== 0;
		if ((components & (high ? 4n : 2n)) === 0n) return 0n;
		return view.getBigUint64((high ? 576 : 160) + 16 * (word >> 2) + 8 * (word & 1), true);
	}
}
