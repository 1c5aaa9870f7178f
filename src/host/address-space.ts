/** The page tables that the kernel runs on (arch/x86/mm/tlb.c, v6.18): CR3 with its PCID, and CR4. */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { symbol } from "../silicon/cpu/symbols.ts";
import * as L from "../silicon/cpu/layout.ts";
import { OP } from "../silicon/ops.ts";

const SYM = { textPoke: symbol("__text_poke"), switchMm: symbol("switch_mm_irqs_off") } as const;

const CR4_PCE = 1 << 8;

/** TLB_NR_DYN_ASIDS: as many address spaces keep their translations on a CPU. */
const DYNAMIC_ASIDS = 6;

/** An address space: its top page table. */
export interface Mm {
	readonly name: string;
	/** Physical address of the PGD. */
	readonly pgd: number;
}

/** The mm that __text_poke() writes code through. */
const POKING_MM: Mm = { name: "text_poke_mm", pgd: 0x7000 };

/** cpu_tlbstate of one CPU. */
export class AddressSpaces {
	private readonly cpu: Cpu;
	/** loaded_mm. */
	private loaded: Mm;
	/** loaded_mm_asid: the PCID less one. */
	private asid = 0;
	private nextAsid = 1;
	/** Address spaces that an ASID belongs to: ctxs[]. */
	private readonly contexts: (Mm | null)[] = Array.from({ length: DYNAMIC_ASIDS }, () => null);
	/** What CR3 and CR4 of this CPU hold while the kernel runs. */
	cr3: number;
	cr4: number;

	/** @param initial the address space that is loaded, with PCID 1 */
	constructor(cpu: Cpu, initial: Mm) {
		this.cpu = cpu;
		this.loaded = initial;
		this.contexts[0] = initial;
		this.cr3 = initial.pgd + 1;
		this.cr4 = 0;
	}

	/** Takes over what the boot code has put into CR4, and loads CR3. */
	boot(): void {
		this.cr4 = this.cpu.readNumber(L.CR4);
		this.cpu.writeNumber(L.CR3, this.cr3);
	}

	/** switch_mm_irqs_off(), with choose_new_asid(): a space that has no ASID any more takes the next one. */
	switchTo(next: Mm): void {
		if (next === this.loaded) return;
		this.cpu.enter(SYM.switchMm);
		let asid = this.contexts.indexOf(next);
		if (asid < 0) {
			asid = this.nextAsid;
			this.nextAsid = (this.nextAsid + 1) % DYNAMIC_ASIDS;
			this.contexts[asid] = next;
		}
		this.loaded = next;
		this.asid = asid;
		const cr3 = next.pgd + asid + 1;
		this.cpu.op(OP.mov_to_cr);
		this.cr3 = cr3;
		this.cpu.writeNumber(L.CR3, this.cr3);
		this.cpu.leave();
	}

	/** cr4_update_irqsoff(): perf lets user space read counters (CR4.PCE), or no longer. */
	toggleCr4Pce(): void {
		this.cpu.op(OP.mov_to_cr);
		this.cr4 ^= CR4_PCE;
		this.cpu.writeNumber(L.CR4, this.cr4);
	}

	/**
	 * __text_poke() on this CPU, as a static key that is flipped makes an interrupt do it: through an address space of
	 * its own and back. In between the ASID of the one that was loaded was given away, so that it comes back with
	 * another.
	 */
	textPoke(): void {
		const { loaded } = this;
		this.cpu.enter(SYM.textPoke);
		this.contexts[this.asid] = null;
		this.switchTo(POKING_MM);
		this.switchTo(loaded);
		this.cpu.leave();
	}
}
