/** Machines with several CPUs whose guests are a few bytes of machine code. */
import type { Image } from "../../../src/guests/image.ts";
import { createMachine, type Machine } from "../../../src/kvm/api/kvm.ts";
import { hostRamBytesFor, Vmm } from "../../../src/kvm/api/vmm.ts";
import { longModeState } from "../../../src/guests/boot.ts";
import { boot } from "../../../src/kvm/api/vmm-boot.ts";
import { readGuestPhysical } from "../../../src/kvm/emulate/guest-memory.ts";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { findModel } from "../../../src/silicon/models/models.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";

export const VENDORS = ["vmx", "svm"] as const;
export type VmVendor = (typeof VENDORS)[number];

export interface SeveralCpus {
	readonly vendor: VmVendor;
	readonly vcpus: number;
	readonly cpus?: number;
	readonly seed?: number;
	readonly iterations?: number;
	/** 64-bit code in hexadecimal, loaded at 1 MiB. */
	readonly code: string;
	/** All vCPUs begin there, told their number in RSI and how many there are in R10; otherwise only the first. */
	readonly startAll?: boolean;
}

const CODE_GPA = 0x10_0000;
const GUEST_BYTES = 2 << 20;

/** Bytes from hexadecimal text. */
export function hex(text: string): Uint8Array {
	return Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

/** A machine with its guest loaded. */
export function severalCpus(options: SeveralCpus): { machine: Machine; vmm: Vmm } {
	const { vendor, vcpus, cpus, seed } = options;
	const machine = createMachine({
		model: findModel(vendor === "svm" ? "turin" : "emerald-rapids")!,
		vendor,
		tree: findTree("v6.18"),
		ramBytes: hostRamBytesFor(GUEST_BYTES),
		vcpus,
		...(cpus === undefined ? {} : { cpus }),
		smp: { seed: seed ?? 1 },
	});
	const vmm = new Vmm(machine, { guestRamBytes: GUEST_BYTES });
	const bytes = hex(options.code);
	const image: Image = {
		protocol: "long-mode",
		entry: CODE_GPA,
		segments: [{ gpa: CODE_GPA, bytes }],
		endGpa: CODE_GPA + bytes.length,
	};
	const parameters = { iterations: options.iterations ?? 1 };
	vmm.load(image, { parameters });
	for (const vcpu of machine.vm.vcpus) {
		if (vcpu.id > 0) {
			if (options.startAll !== true) continue;
			boot(vcpu, longModeState(image, parameters));
		}
		vcpu.regs[L.RSI] = BigInt(vcpu.id);
		vcpu.regs[10] = BigInt(vcpus);
	}
	return { machine, vmm };
}

/** Bytes of guest memory. */
export function guestBytes({ vm }: Machine, gpa: number, count: number): Uint8Array {
	const bytes = new Uint8Array(count);
	readGuestPhysical(vm, gpa, bytes);
	return bytes;
}

/** 64 bits of guest memory. */
export function guestWord(machine: Machine, gpa: number): bigint {
	return new DataView(guestBytes(machine, gpa, 8).buffer).getBigUint64(0, true);
}
