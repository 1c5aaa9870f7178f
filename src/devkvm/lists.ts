/** ioctls whose argument is a head and a list behind it, or names memory by its address. */
import { type Msr, KvmError } from "../uapi/api.ts";
import type { IoctlName } from "../uapi/ioctl.ts";
import { buffer } from "../uapi/layout.ts";
import {
	type KvmCpuidEntry2,
	kvmCpuid2,
	kvmCpuidEntry2,
	kvmMsrEntry,
	kvmMsrs,
	kvmOneReg,
	kvmRegList,
} from "../uapi/structs.ts";
import type { Fd } from "./fd.ts";

/** KVM_MAX_CPUID_ENTRIES. */
const CPUID_ENTRIES_MAX = 256;

/** KVM_GET_SUPPORTED_CPUID or KVM_GET_CPUID2. */
export function getCpuid(fd: Fd, name: IoctlName): KvmCpuidEntry2[] {
	const { bytes, view } = buffer(kvmCpuid2.bytes + CPUID_ENTRIES_MAX * kvmCpuidEntry2.bytes);
	kvmCpuid2.write(view, 0, { nent: CPUID_ENTRIES_MAX });
	fd.ioctl(name, bytes);
	const { nent } = kvmCpuid2.read(view, 0);
	return Array.from({ length: nent }, (_, at) =>
		kvmCpuidEntry2.read(view, kvmCpuid2.bytes + at * kvmCpuidEntry2.bytes),
	);
}

/** KVM_SET_CPUID2. */
export function setCpuid(fd: Fd, entries: readonly KvmCpuidEntry2[]): void {
	const { bytes, view } = buffer(kvmCpuid2.bytes + entries.length * kvmCpuidEntry2.bytes);
	kvmCpuid2.write(view, 0, { nent: entries.length });
	for (const [at, entry] of entries.entries()) {
		kvmCpuidEntry2.write(view, kvmCpuid2.bytes + at * kvmCpuidEntry2.bytes, entry);
	}
	fd.ioctl("KVM_SET_CPUID2", bytes);
}

function moveMsrs(fd: Fd, name: "KVM_GET_MSRS" | "KVM_SET_MSRS", msrs: readonly Msr[]): Msr[] {
	const { bytes, view } = buffer(kvmMsrs.bytes + msrs.length * kvmMsrEntry.bytes);
	kvmMsrs.write(view, 0, { nmsrs: msrs.length });
	const at = (n: number) => kvmMsrs.bytes + n * kvmMsrEntry.bytes;
	for (const [n, { index, data }] of msrs.entries()) kvmMsrEntry.write(view, at(n), { index, data });
	// The result is how many went well; the first that did not ends the list.
	const done = fd.ioctl(name, bytes);
	if (done < msrs.length) {
		const { index, data } = msrs[done]!;
		const what = name === "KVM_SET_MSRS" ? ` := 0x${data.toString(16)}` : "";
		throw new KvmError(name, "EINVAL", `MSR 0x${index.toString(16)}${what}`);
	}
	return msrs.map(({ index }, n) => ({ index, data: kvmMsrEntry.read(view, at(n)).data }));
}

/** KVM_GET_MSRS. @throws KvmError naming the first MSR that cannot be read */
export function getMsrs(fd: Fd, indices: readonly number[]): Msr[] {
	return moveMsrs(
		fd,
		"KVM_GET_MSRS",
		indices.map((index) => ({ index, data: 0n })),
	);
}

/** KVM_SET_MSRS. @throws KvmError naming the first MSR that cannot be written */
export function setMsrs(fd: Fd, msrs: readonly Msr[]): void {
	moveMsrs(fd, "KVM_SET_MSRS", msrs);
}

const REGS_MAX = 64;

/** KVM_GET_REG_LIST: ids of registers. */
export function getRegList(fd: Fd): bigint[] {
	const { bytes, view } = buffer(kvmRegList.bytes + REGS_MAX * 8);
	kvmRegList.write(view, 0, { n: BigInt(REGS_MAX) });
	fd.ioctl("KVM_GET_REG_LIST", bytes);
	const { n } = kvmRegList.read(view, 0);
	return Array.from({ length: Number(n) }, (_, at) => view.getBigUint64(kvmRegList.bytes + 8 * at, true));
}

/** KVM_GET_ONE_REG or KVM_SET_ONE_REG, whose value lies in memory that the argument names. @returns the value */
export function moveOneReg(
	fd: Fd,
	name: "KVM_GET_ONE_REG" | "KVM_SET_ONE_REG",
	id: bigint,
	value: bigint,
): bigint {
	const mapping = fd.libc.map(4096);
	try {
		const view = new DataView(mapping.bytes.buffer, mapping.bytes.byteOffset, 8);
		view.setBigUint64(0, value, true);
		fd.set(name, kvmOneReg, { id, addr: mapping.address });
		return view.getBigUint64(0, true);
	} finally {
		fd.libc.unmap(mapping);
	}
}
