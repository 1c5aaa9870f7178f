/**
 * kvm->srcu is held where a memory slot or the PMU's event filter is read, and is not held while the guest runs.
 *
 * Another thread replaces slots and filter by an ioctl and frees the old one behind synchronize_srcu(). Without the lock
 * the vCPU may read freed memory: lockdep's "suspicious RCU usage". Held around the guest, the ioctl waits for as long
 * as the guest does not exit.
 *
 * Not covered: readers that hold slots_lock instead.
 */
import { OP } from "../../silicon/ops.ts";
import { GUEST_ENTRIES, isGuestEntry } from "./guest-entry.ts";
import type { Property } from "./property.ts";

export const srcuHeld: Property = {
	name: "srcu-held",
	title: "kvm->srcu is held where memory slots or the PMU event filter are read, and not around the guest",
	degree: "violation",
	ops: ["srcu_dereference", ...GUEST_ENTRIES, "user_transition"],
	onOp({ machine: { vcpu, cpu, kernel } }, op) {
		if (cpu.guest !== null) return null;
		if (op === OP.srcu_dereference && vcpu.srcuDepth === 0)
			return "suspicious RCU usage: srcu_dereference() without kvm->srcu";
		if (isGuestEntry(op) && vcpu.srcuDepth > 0) return "the guest is entered with kvm->srcu held";
		// A thread that was switched out holds on to it.
		const leaves = op === OP.user_transition && kernel.current === kernel.vcpuTask;
		if (leaves && vcpu.srcuDepth > 0) return "kvm->srcu is held on the way to user space";
		return null;
	},
};
