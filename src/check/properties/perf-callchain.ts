/**
 * perf's NMI can read the call chain of user space.
 *
 * An NMI that comes while the kernel runs is a sample of the kernel and of the user space behind it, whose stack perf
 * reads. PKRU rules that read, too: under a guest's PKRU it may fault. The kernel has a fixup, so it loses the rest of the
 * chain and nothing else: a finding.
 *
 * Not covered: user space whose stack lies on pages of key 0, if the guest leaves itself that key.
 */
import type { Property } from "./property.ts";

export const perfCallchain: Property = {
	name: "perf-callchain",
	title: "an NMI of perf's can read user space's call chain",
	degree: "finding",
	ops: ["copy_from_user_nmi"],
	onOp({ machine: { cpu, kernel } }) {
		if (kernel.userReadable) return null;
		return `perf loses user space's call chain: PKRU is 0x${cpu.pkru.toString(16)}, the guest's`;
	},
};
