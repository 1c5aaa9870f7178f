/**
 * One of the two machines behind KVM's user API.
 *
 *     const kvm = Kvm.open({ backend: "soft" });
 *     const vm = kvm.createVm();
 *     const memory = vm.addMemory({ slot: 0, gpa: 0, bytes: 0x10000 });
 */
import { DevKvm } from "../devkvm/system.ts";
import { SoftKvm, type SoftKvmOptions } from "../softkvm/system.ts";
import type { Backend, KvmSystem } from "../uapi/api.ts";

export interface KvmOpenOptions extends SoftKvmOptions {
	/** `dev`, the real /dev/kvm, or `soft`, the software machine, which alone looks at the other options. */
	readonly backend: Backend;
}

export const Kvm = {
	/**
	 * Opens /dev/kvm, or switches a software machine on.
	 * @throws DevKvmUnavailable with one line: what is missing, and how to get it
	 * @throws FlowError if the software machine's model has no such vendor
	 */
	open({ backend, ...options }: KvmOpenOptions): KvmSystem {
		return backend === "dev" ? DevKvm.open() : SoftKvm.open(options);
	},
};
