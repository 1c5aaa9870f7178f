/** XFD, and AMX state that was saved before it was set (commit b45f72177594, 2026). */
import { remove } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const xfdXstate: HistoryCase = {
	name: "xfd-xstate",
	title: "The guest's saved AMX state cannot be restored, because it has disabled AMX since",
	fix: { commits: ["b45f72177594"], date: "2025-12-24", author: "Paolo Bonzini" },
	vendors: ["vmx"],
	state: "XFD",
	story:
		"A guest with live AMX state sets XFD and exits. Before KVM emulates the write, an interrupt uses the FPU and so " +
		"saves the guest's registers, tiles included, while XFD still is clear. Then the write is emulated, and the next " +
		"entry restores the image under the new XFD: XRSTORS of a component that XFD disables raises #NM, in the kernel, " +
		"for which there is no fixup. The fix drops what XFD disables from a saved image when XFD changes. User space can " +
		"get the same by KVM_SET_XSAVE.",
	differs: "v6.18 here has the fix, as its stable series does.",
	before: patched(v618, "xfd-xstate-before", "a change of XFD leaves the saved image alone", "v6.18", [
		remove("TIF_NEED_FPU_LOAD (XFD)", "fpu_update_guest_xfd"),
	]),
	after: { ...v618, name: "xfd-xstate-after" },
	shows: {
		events: ["irq-fpu"],
		configuration: { xfd: "own" },
		property: "host-fault",
		tells: [/#NM in the host kernel/, /switch_fpu_return/, /uses the FPU arrives/],
	},
};
