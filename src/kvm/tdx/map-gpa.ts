/**
 * TDG.VP.VMCALL<MapGPA> (arch/x86/kvm/vmx/tdx.c, v6.18: tdx_map_gpa(); GHCI, 3.2): a TD wants a range to be private or shared from here on.
 * KVM asks user space, 2 MiB at a time: each part is an exit of its own.
 */
import { SHARED_BIT } from "../../silicon/tdx/td.ts";
import { KVM_EXIT, KVM_HC_MAP_GPA_RANGE, KVM_REQ, MAP_GPA_RANGE } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { toTdx } from "./tdx-vcpu.ts";

const R10 = 10;
const R11 = 11;
const R12 = 12;
const R13 = 13;
const PAGE_BYTES = 4096n;
/** TDX_MAP_GPA_MAX_LEN. */
const PART_BYTES = 2n << 20n;

/** TDG.VP.VMCALL completion statuses, for R10 (GHCI, table 2-4). */
const STATUS = {
	retry: 1n,
	invalidOperand: 0x8000_0000_0000_0000n,
	alignError: 0x8000_0000_0000_0002n,
	subfunctionUnsupported: 0x8000_0000_0000_0003n,
} as const;

const isPrivate = (gpa: bigint) => (gpa & BigInt(SHARED_BIT)) === 0n;

/** The call has not done all that it was asked for. @param gpa where it stopped, for R11 */
function fail(v: Vcpu, status: bigint, gpa: bigint): number {
	v.regs[R10] = status;
	v.regs[R11] = gpa;
	return 1;
}

/**
 * R12: the first guest physical address, with the shared bit if it is to be shared; R13: bytes.
 * @returns 0 for KVM_EXIT_HYPERCALL, or 1 with the call's status in R10
 */
export function tdxMapGpa(v: Vcpu): number {
	const gpa = v.regs[R12]!;
	const bytes = v.regs[R13]!;
	if ((v.vm.hypercallExits & (1 << KVM_HC_MAP_GPA_RANGE)) === 0)
		return fail(v, STATUS.subfunctionUnsupported, gpa);
	const last = gpa + bytes - 1n;
	if (bytes === 0n || last >= 2n * BigInt(SHARED_BIT) || isPrivate(gpa) !== isPrivate(last))
		return fail(v, STATUS.invalidOperand, gpa);
	if (gpa % PAGE_BYTES !== 0n || bytes % PAGE_BYTES !== 0n) return fail(v, STATUS.alignError, gpa);
	const tdx = toTdx(v);
	tdx.mapGpaNext = gpa;
	tdx.mapGpaEnd = gpa + bytes;
	return askUserSpace(v);
}

/** __tdx_map_gpa(). @returns 0: to user space */
function askUserSpace(v: Vcpu): number {
	const { mapGpaNext, mapGpaEnd } = toTdx(v);
	const left = mapGpaEnd - mapGpaNext;
	const { run } = v;
	run.exitReason = KVM_EXIT.HYPERCALL;
	run.hypercall.nr = KVM_HC_MAP_GPA_RANGE;
	run.hypercall.ret = 0;
	run.hypercall.args[0] = mapGpaNext & ~BigInt(SHARED_BIT);
	run.hypercall.args[1] = (left < PART_BYTES ? left : PART_BYTES) / PAGE_BYTES;
	run.hypercall.args[2] = BigInt(isPrivate(mapGpaNext) ? MAP_GPA_RANGE.ENCRYPTED : MAP_GPA_RANGE.DECRYPTED);
	v.completeUserspaceIo = () => completeMapGpa(v);
	return 0;
}

/** tdx_complete_vmcall_map_gpa(). @returns 0 for the next part, or 1 */
function completeMapGpa(v: Vcpu): number {
	const tdx = toTdx(v);
	if (v.run.hypercall.ret !== 0) return fail(v, STATUS.invalidOperand, tdx.mapGpaNext);
	tdx.mapGpaNext += PART_BYTES;
	if (tdx.mapGpaNext >= tdx.mapGpaEnd) return 1;
	// The TD takes the interrupt, and asks for the rest.
	const nmi = (v.requests & KVM_REQ.NMI) !== 0 || v.nmiPending > 0;
	if (tdx.posted.isOn || nmi) return fail(v, STATUS.retry, tdx.mapGpaNext);
	return askUserSpace(v);
}
