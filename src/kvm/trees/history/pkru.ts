/** PKRU: not swapped at all (commit 1be0e61c1f25, 2016), and swapped too rarely (37486135d3a7, 2020). */
import { readPkru, writePkru } from "../../../host/access.ts";
import { step, when } from "../../flow/flow.ts";
import { remove, replace } from "../../flow/patch.ts";
import type { Vcpu } from "../../vcpu.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

const CR4_PKE = 1 << 22;
const hasPke = (v: Vcpu) => (v.cr4Bits & CR4_PKE) !== 0;
const differs = (v: Vcpu) => v.pkru !== v.hostPkru;

export const pkruNotSwapped: HistoryCase = {
	name: "pkru-not-swapped",
	title: "The host runs with the PKRU that the guest left behind",
	fix: { commits: ["1be0e61c1f25"], date: "2016-03", author: "Huaitong Han" },
	vendors: ["vmx"],
	state: "PKRU",
	story:
		"Guests had been given protection keys, but no exit put the host's PKRU back. It rules what kernel and user space " +
		"may touch of user pages: with a guest's PKRU that denies key 0, KVM's accesses to guest memory fail with EFAULT, " +
		"and QEMU dies of SIGSEGV. The fix saves the guest's value and loads the host's in vmx_vcpu_run().",
	differs: "",
	before: patched(v618, "pkru-not-swapped-before", "PKRU is left alone", "v4.5", [
		remove("guest PKRU differs", "kvm_load_guest_xsave_state"),
		remove("guest can use PKRU", "kvm_load_host_xsave_state"),
	]),
	after: { ...v618, name: "pkru-not-swapped-after" },
	shows: {
		events: [],
		configuration: {},
		property: "host-xstate",
		tells: [/PKRU is 0x55555544, not user space's 0x55555554/, /exit_to_user_mode_loop/],
	},
};

export const pkruByXrstor: HistoryCase = {
	name: "pkru-by-xrstor",
	title: "A guest without CR4.PKE changes PKRU all the same, by XRSTOR",
	fix: { commits: ["37486135d3a7"], date: "2020-05", author: "Babu Moger" },
	vendors: ["vmx"],
	state: "PKRU",
	story:
		"PKRU was swapped if the guest's CR4.PKE was set, since only then RDPKRU and WRPKRU work. XRSTOR asks XCR0 alone: " +
		"a guest with PKRU's bit in XCR0 and PKE clear loads what it likes, and the host goes on with it. The fix swaps " +
		"PKRU if either allows the guest to change it, in code that both vendors use.",
	differs: "The swap was VMX's own; SVM, which then had no protection keys, swapped nothing.",
	before: patched(v618, "pkru-by-xrstor-before", "PKRU is swapped only with CR4.PKE", "v5.7", [
		replace(
			"guest PKRU differs",
			"kvm_load_guest_xsave_state",
			when("CR4.PKE (load)", (v) => hasPke(v) && differs(v), [
				step("WRPKRU(guest)", (v) => writePkru(v.cpu, v.pkru), 3),
			]),
		),
		replace(
			"guest can use PKRU",
			"kvm_load_host_xsave_state",
			when("CR4.PKE (save)", hasPke, [
				step(
					"RDPKRU",
					(v) => {
						v.pkru = readPkru(v.cpu);
					},
					3,
				),
				when("guest PKRU differs", differs, [step("WRPKRU(host)", (v) => writePkru(v.cpu, v.hostPkru), 3)]),
			]),
		),
	]),
	after: { ...v618, name: "pkru-by-xrstor-after" },
	shows: {
		events: [],
		configuration: { pke: "off", xcr0: "host" },
		property: "host-xstate",
		tells: [/PKRU is 0xaaaaaaac, not user space's 0x55555554/],
	},
};
