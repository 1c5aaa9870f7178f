/**
 * The guest's PMU as far as the run loop goes: an instruction that KVM executes in the guest's place is counted by the
 * counters that count instructions (arch/x86/kvm/pmu.c, v6.18). Counting by hardware is left out.
 */
import { call, flow, step, when } from "../flow/flow.ts";
import type { Vcpu } from "../vcpu.ts";
import { srcuDereference, srcuReadLockNested, srcuReadUnlockNested } from "./srcu.ts";

/** check_pmu_event_filter(), then kvm_pmu_incr_counter(). The filter is what KVM_SET_PMU_EVENT_FILTER replaces. */
function countEvent(v: Vcpu): void {
	srcuDereference(v);
	v.cpu.code(30);
	v.pmu.instructionsRetired++;
}

/**
 * kvm_pmu_trigger_event(). It takes the lock itself since commit 8bb8b60c95c5 (2025), so that the fastpath may call it.
 */
export const kvmPmuTriggerEvent = flow("kvm_pmu_trigger_event", "pmu.c", [
	step("srcu_read_lock", srcuReadLockNested, 2),
	step("check_pmu_event_filter", countEvent, 10),
	step("srcu_read_unlock", srcuReadUnlockNested, 2),
]);

/** kvm_pmu_instruction_retired(): part of each kvm_skip_emulated_instruction(). */
export const kvmPmuInstructionRetired = flow("kvm_pmu_instruction_retired", "pmu.c", [
	when(
		"a counter counts instructions",
		(v) => v.pmu.countsInstructions,
		[call("kvm_pmu_trigger_event")],
		[],
		0,
	),
]);
