/** SDM Vol. 2: near JMP, Jcc, LOOPcc, JCXZ, CALL, RET. */
import { Code, type Instruction, Mnemonic as M, OpKind } from "iced-x86";
import { cut, F, type Operation, type Reference } from "./state.ts";

const RCX = 1;

const JUMPS = [
	M.Jo,
	M.Jno,
	M.Jb,
	M.Jae,
	M.Je,
	M.Jne,
	M.Jbe,
	M.Ja,
	M.Js,
	M.Jns,
	M.Jp,
	M.Jnp,
	M.Jl,
	M.Jge,
	M.Jle,
	M.Jg,
];

/** Counter of LOOP and JCXZ: the address size picks CX, ECX or RCX. */
function counterBytes(i: Instruction): number {
	const name = Code[i.code]!;
	if (name.endsWith("_RCX") || name.startsWith("Jrcxz")) return 8;
	return name.endsWith("_ECX") || name.startsWith("Jecxz") ? 4 : 2;
}

function loop(extra: (r: Reference) => boolean): Operation {
	return (r, i) => {
		const bytes = counterBytes(i);
		const count = cut(r.get(RCX, bytes) - 1n, bytes * 8);
		r.put(RCX, bytes, count);
		if (count !== 0n && extra(r)) r.rip = i.nearBranchTarget;
	};
}

function target(r: Reference, i: Instruction): bigint {
	return i.opKind(0) === OpKind.Register || i.opKind(0) === OpKind.Memory ? r.read(i, 0) : i.nearBranchTarget;
}

function call(r: Reference, i: Instruction): void {
	const to = target(r, i);
	r.push(-i.stackPointerIncrement, r.rip);
	r.rip = to;
}

function ret(r: Reference, i: Instruction): void {
	const extra = i.opCount === 0 ? 0n : i.immediate(0);
	r.rip = r.pop(i.stackPointerIncrement - Number(extra));
	r.moveStack(extra);
}

export const CONTROL: readonly [number, Operation][] = [
	[
		M.Jmp,
		(r, i) => {
			r.rip = target(r, i);
		},
	],
	[M.Call, call],
	[M.Ret, ret],
	[M.Loop, loop(() => true)],
	[M.Loope, loop((r) => r.flag(F.ZF))],
	[M.Loopne, loop((r) => !r.flag(F.ZF))],
	...[M.Jcxz, M.Jecxz, M.Jrcxz].map((mnemonic): [number, Operation] => [
		mnemonic,
		(r, i) => {
			if (r.get(RCX, counterBytes(i)) === 0n) r.rip = i.nearBranchTarget;
		},
	]),
	...JUMPS.map((mnemonic, condition): [number, Operation] => [
		mnemonic,
		(r, i) => {
			if (r.condition(condition)) r.rip = i.nearBranchTarget;
		},
	]),
];
