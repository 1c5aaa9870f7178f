/**
 * The software machine behind KVM's user API: one computer with one CPU, Linux on it, and this project's KVM.
 *
 *     const kvm = SoftKvm.open();
 *     const vm = kvm.createVm();
 */
import { HostPages } from "../host/pages.ts";
import type { Kernel } from "../host/kernel.ts";
import { FIRST_FREE_HPA, bootProcessor, createSilicon, createVm } from "../kvm/api/kvm.ts";
import { supportedCpuid } from "../kvm/emulate/cpuid.ts";
import { type CompiledTree, compileTree } from "../kvm/flow/compile.ts";
import { installCustomOps } from "../kvm/flow/custom-op.ts";
import { FlowError } from "../kvm/flow/errors.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { v618 } from "../kvm/trees/base.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { turin } from "../silicon/models/turin.ts";
import { flushTlb } from "../silicon/paging/tlb.ts";
import type { KvmSystem } from "../uapi/api.ts";
import { KVM_API_VERSION, type KvmCapName } from "../uapi/constants.ts";
import type { KvmCpuidEntry2 } from "../uapi/structs.ts";
import { checkExtension } from "./capabilities.ts";
import { toUapi } from "./cpuid.ts";
import { FEATURE_MSRS, msrIndexList } from "./msrs.ts";
import { type SharedCpu, SoftVm } from "./vm.ts";
import { xsaveAreaBytes } from "./xsave.ts";

/** Address space only: pages that nobody touches take no memory. */
const RAM_BYTES = 512 << 20;

/** Which computer it is. */
export interface SoftKvmOptions {
	/** Default: turin. */
	readonly model?: CpuModel;
	/** Default: the model's first. TDs need ioctls of their own and are not offered. */
	readonly vendor?: Vendor;
	/** KVM as it is to be. Default: v6.18. */
	readonly tree?: Tree;
	/** Host memory, a multiple of 64 KiB. Default 512 MiB. */
	readonly ramBytes?: number;
}

export class SoftKvm implements KvmSystem {
	readonly backend = "soft";
	private readonly kernel: Kernel;
	private readonly pages: HostPages;
	private readonly vendor: Vendor;
	private readonly tree: CompiledTree;
	private readonly shared: SharedCpu;
	private readonly vms = new Set<SoftVm>();

	private constructor(options: SoftKvmOptions) {
		const model = options.model ?? turin;
		this.vendor = options.vendor ?? model.vendors[0]!;
		if (!model.vendors.includes(this.vendor) || this.vendor === "tdx") {
			throw new FlowError(
				`${model.name} has no ${this.vendor} for VMs; it has ${model.vendors.join(" and ")}`,
			);
		}
		const silicon = createSilicon(model, options.ramBytes ?? RAM_BYTES);
		this.kernel = bootProcessor(silicon);
		this.tree = compileTree(options.tree ?? v618, this.vendor);
		installCustomOps(silicon.cpu, this.tree.tree);
		this.pages = new HostPages(silicon.memory, FIRST_FREE_HPA);
		this.shared = { kernel: this.kernel, lastVcpu: null };
	}

	/**
	 * Switches the computer on.
	 * @throws FlowError if the model has no such vendor, or the tree does not compile
	 */
	static open(options: SoftKvmOptions = {}): SoftKvm {
		return new SoftKvm(options);
	}

	/** Host memory that VMs have now, in bytes. */
	get usedBytes(): number {
		return this.pages.usedBytes;
	}

	/** Timers of the host that are armed. */
	get armedTimers(): number {
		return this.kernel.hrtimers.size;
	}

	/** The host's clock, in cycles since it was switched on. */
	get cycles(): number {
		return this.kernel.cpu.cycles;
	}

	apiVersion(): number {
		return KVM_API_VERSION;
	}
	checkExtension(cap: KvmCapName): number {
		return checkExtension(cap, xsaveAreaBytes({ cpu: this.kernel.cpu }));
	}
	supportedCpuid(): KvmCpuidEntry2[] {
		const { cpu } = this.kernel;
		return supportedCpuid({ cpu, apic: true, id: 0 }).map(toUapi);
	}
	msrIndexList(): number[] {
		return msrIndexList(this.kernel.cpu.model);
	}
	msrFeatureIndexList(): number[] {
		return [...FEATURE_MSRS];
	}

	createVm(): SoftVm {
		const made = createVm(this.kernel, this.vendor, this.tree, this.pages, { irqchip: false, pit: false });
		const vm = new SoftVm(made, this.shared, () => {
			this.vms.delete(vm);
			// Its tables' pages will be another VM's.
			flushTlb(this.kernel.cpu);
		});
		this.vms.add(vm);
		return vm;
	}

	close(): void {
		for (const vm of [...this.vms]) vm.close();
	}
}
