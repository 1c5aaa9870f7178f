/** The silicon that a check runs on: time stands still there, since ops cost nothing. */
import { createSilicon, type Silicon } from "../kvm/api/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { O } from "../silicon/vmx/fields.ts";
import type { CpuModel } from "../silicon/models/model.ts";

const HOST_RAM_BYTES = 8 << 20;
const timeless = new Map<CpuModel, Silicon[]>();

/** One silicon a model and number of CPUs, without costs: what was translated on it is kept from run to run. */
export function siliconFor(model: CpuModel, cpus: number): Silicon {
	const silicons = timeless.get(model) ?? [];
	timeless.set(model, silicons);
	let silicon = silicons[cpus];
	if (silicon === undefined) {
		const free = <T extends { cycles: number }>(costs: Readonly<Record<string, T>>) =>
			Object.fromEntries(Object.entries(costs).map(([name, cost]) => [name, { ...cost, cycles: 0 }]));
		const still = { ...model, costs: free(model.costs), guestCosts: free(model.guestCosts) } as CpuModel;
		silicon = createSilicon(still, HOST_RAM_BYTES, cpus);
		silicons[cpus] = silicon;
	}
	return silicon;
}

/** Place of the VMX preemption timer's value, and the value at which KVM has the timer off: minutes. */
const TIMER = O.VMX_PREEMPTION_TIMER_VALUE >> 2;
const TIMER_NEVER = 0xffff_ffff;

/**
 * A guest has exited, and may have run for any time, though the clock stands still: the value that the preemption timer was loaded
 * with says nothing about the next entry. One that is 0 makes the guest exit then too.
 */
export function timePasses({ vmx }: Vcpu): void {
	if (vmx !== null && vmx.vmcs.u32[TIMER] !== 0) vmx.vmcs.u32[TIMER] = TIMER_NEVER;
}
