import { afterAll, describe, expect, it } from "vitest";
import { atomNames } from "../../src/backends/compare/atoms.ts";
import { type Side, compareBackends } from "../../src/backends/compare/compare.ts";
import { generateGuest, guestMemory, listing } from "../../src/backends/compare/generate.ts";
import { compareImage, ownImages } from "../../src/backends/compare/images.ts";
import { MODES } from "../../src/backends/compare/machine.ts";
import { emeraldRapids } from "../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../src/silicon/models/turin.ts";
import { SoftKvm } from "../../src/softkvm/system.ts";
import type { KvmSystem, KvmVcpu, KvmVm } from "../../src/uapi/api.ts";

const alarms = {
	after: (milliseconds: number, ring: () => void) => {
		const timer = setTimeout(ring, milliseconds);
		return () => clearTimeout(timer);
	},
};
const RAM_BYTES = 64 << 20;
const svm: Side = {
	name: "soft:svm",
	module: "kvm_amd",
	kvm: SoftKvm.open({ model: turin, vendor: "svm", ramBytes: RAM_BYTES }),
};
const vmx: Side = {
	name: "soft:vmx",
	module: "kvm_intel",
	kvm: SoftKvm.open({ model: emeraldRapids, vendor: "vmx", ramBytes: RAM_BYTES }),
};

/** A machine with one thing wrong: behind a port write of 4 bytes RBX reads as something else. */
function lying(kvm: KvmSystem): KvmSystem {
	let wrong = false;
	const vcpuOf = (vcpu: KvmVcpu): KvmVcpu =>
		new Proxy(vcpu, {
			get(target, name) {
				if (name === "getRegs") {
					return () => {
						const regs = target.getRegs();
						return wrong ? { ...regs, rbx: regs.rbx ^ 1n } : regs;
					};
				}
				if (name === "startThread") {
					return async () => {
						const thread = await target.startThread();
						return {
							run: async () => {
								const exit = await thread.run();
								if (exit.reason !== "intr") wrong = exit.reason === "io" && exit.write && exit.size === 4;
								return exit;
							},
							kick: () => thread.kick(),
							stop: () => thread.stop(),
						};
					};
				}
				const value = Reflect.get(target, name, target);
				return typeof value === "function" ? value.bind(target) : value;
			},
		});
	const vmOf = (vm: KvmVm): KvmVm =>
		new Proxy(vm, {
			get(target, name) {
				if (name === "createVcpu") {
					return (id: number) => {
						wrong = false;
						return vcpuOf(target.createVcpu(id));
					};
				}
				const value = Reflect.get(target, name, target);
				return typeof value === "function" ? value.bind(target) : value;
			},
		});
	return new Proxy(kvm, {
		get(target, name) {
			if (name === "createVm") return () => vmOf(target.createVm());
			const value = Reflect.get(target, name, target);
			return typeof value === "function" ? value.bind(target) : value;
		},
	});
}

afterAll(() => {
	svm.kvm.close();
	vmx.kvm.close();
});

describe("generated guests", () => {
	it("are the same for the same seed and number, and others for others", () => {
		expect(guestMemory(generateGuest(1, 7))).toEqual(guestMemory(generateGuest(1, 7)));
		expect(listing(generateGuest(1, 7))).not.toEqual(listing(generateGuest(1, 8)));
		expect(listing(generateGuest(1, 7))).not.toEqual(listing(generateGuest(2, 7)));
	});

	it("are of pieces whose length does not depend on where they stand", () => {
		for (let number = 0; number < 60; number++) {
			for (const { atoms } of generateGuest(3, number).sections) {
				for (const atom of atoms) {
					expect(atom.emit(0x1c000).length, atom.name).toBe(atom.emit(0x1ffff).length);
				}
			}
		}
	});

	it("go through every mode and have every kind of piece before long", () => {
		const seen = new Set<string>();
		for (let number = 0; number < 1500; number++) {
			for (const { mode, atoms } of generateGuest(1, number).sections) {
				for (const { name } of atoms) seen.add(`${mode.name}: ${name}`);
			}
		}
		const all = Object.values(MODES).flatMap((mode) =>
			atomNames(mode).map((name) => `${mode.name}: ${name}`),
		);
		expect(all.filter((name) => !seen.has(name))).toEqual([]);
	});
});

describe("two machines in lock step", () => {
	it("SVM and VMX run the same guests alike", async () => {
		const report = await compareBackends({ left: svm, right: vmx, seed: 5, count: 40, alarms });
		expect(report.found).toEqual([]);
		expect(report.equal).toBe(40);
		expect(report.states).toBeGreaterThan(80);
	});

	it("a machine that is wrong behind one kind of exit is found, and the guest reduced to that", async () => {
		const wrong: Side = { ...svm, name: "wrong", kvm: lying(svm.kvm) };
		const report = await compareBackends({ left: vmx, right: wrong, seed: 1, count: 25, alarms });
		expect(report.found.length).toBeGreaterThan(0);
		for (const { pieces, difference, listing: lines } of report.found) {
			expect(pieces).toBeLessThanOrEqual(2);
			expect(difference.fields.map(({ field }) => field)).toContain("rbx");
			expect(lines.some((line) => /\bouts?\b/.test(line))).toBe(true);
		}
	});

	it("a guest image does the same accesses on both", async () => {
		const images = ownImages();
		expect(images.map(({ name }) => name)).toContain("mixed");
		const image = images.find(({ name }) => name === "pio")!;
		const { events, difference } = await compareImage(svm, vmx, image, alarms);
		expect(difference).toBeNull();
		// One OUT, and the write to the exit port.
		expect(events).toBe(2);
	});
});
