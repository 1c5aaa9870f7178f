/** SDM Vol. 2: MOVS, STOS, LODS, SCAS, CMPS and the REP prefixes, an element at a time. */
import { type Instruction, Mnemonic as M, OpKind, Register } from "iced-x86";
import { subtract } from "./arithmetic.ts";
import { F, type Operation, type Reference } from "./state.ts";

const [RAX, RCX, RSI, RDI] = [0, 1, 6, 7];

function addressBytes(i: Instruction): number {
	for (let at = 0; at < i.opCount; at++) {
		const kind = i.opKind(at);
		if (kind === OpKind.MemorySegSI || kind === OpKind.MemoryESDI) return 2;
		if (kind === OpKind.MemorySegESI || kind === OpKind.MemoryESEDI) return 4;
	}
	return 8;
}

type Element = (r: Reference, i: Instruction, bytes: number, source: bigint, destination: bigint) => void;

/** A string instruction: what an element does, which index registers move, whether REPE and REPNE look at ZF. */
function string(bytes: number, moves: readonly number[], compares: boolean, element: Element): Operation {
	return (r, i) => {
		const size = addressBytes(i);
		const step = BigInt((r.flags & F.DF) === 0 ? bytes : -bytes);
		const one = (): void => {
			const source = r.linearIn(i.memorySegment - Register.ES, r.get(RSI, size));
			const destination = r.linearIn(0, r.get(RDI, size));
			element(r, i, bytes, source, destination);
			for (const register of moves) r.put(register, size, r.get(register, size) + step);
		};
		if (!i.hasRepPrefix && !i.hasRepnePrefix) {
			one();
			return;
		}
		while (r.get(RCX, size) !== 0n) {
			one();
			r.put(RCX, size, r.get(RCX, size) - 1n);
			// Done as far as this element: a fault in the next one leaves it so.
			r.checkpoint();
			if (compares && r.flag(F.ZF) !== i.hasRepPrefix) return;
		}
	};
}

const lods: Element = (r, _i, bytes, source) => r.put(RAX, bytes, r.memory.read(source, bytes));
const stos: Element = (r, _i, bytes, _source, destination) =>
	r.memory.write(destination, bytes, r.get(RAX, bytes));
const movs: Element = (r, _i, bytes, source, destination) =>
	r.memory.write(destination, bytes, r.memory.read(source, bytes));
const scas: Element = (r, _i, bytes, _source, destination) => {
	subtract(r, r.get(RAX, bytes), r.memory.read(destination, bytes), 0n, bytes * 8);
};
/** A Zen 4 reads ES:rDI first (docs/vectors.md). */
const cmps: Element = (r, _i, bytes, source, destination) => {
	const right = r.memory.read(destination, bytes);
	subtract(r, r.memory.read(source, bytes), right, 0n, bytes * 8);
};

const SIZES = [1, 2, 4, 8];
function row(names: readonly number[], moves: readonly number[], compares: boolean, element: Element) {
	return names.map((name, at): [number, Operation] => [name, string(SIZES[at]!, moves, compares, element)]);
}

export const STRINGS: readonly [number, Operation][] = [
	...row([M.Movsb, M.Movsw, M.Movsd, M.Movsq], [RSI, RDI], false, movs),
	...row([M.Stosb, M.Stosw, M.Stosd, M.Stosq], [RDI], false, stos),
	...row([M.Lodsb, M.Lodsw, M.Lodsd, M.Lodsq], [RSI], false, lods),
	...row([M.Scasb, M.Scasw, M.Scasd, M.Scasq], [RDI], true, scas),
	...row([M.Cmpsb, M.Cmpsw, M.Cmpsd, M.Cmpsq], [RSI, RDI], true, cmps),
];
