/**
 * /dev/kvm: the system ioctls.
 *
 *     const kvm = DevKvm.open();
 *     const vm = kvm.createVm();
 */
import { type KvmSystem, KvmError } from "../uapi/api.ts";
import { KVM_API_VERSION, KVM_CAP, type KvmCapName } from "../uapi/constants.ts";
import type { IoctlName } from "../uapi/ioctl.ts";
import { buffer } from "../uapi/layout.ts";
import { type KvmCpuidEntry2, kvmMsrList } from "../uapi/structs.ts";
import { Fd } from "./fd.ts";
import { DevKvmUnavailable, loadLibc } from "./libc.ts";
import { getCpuid } from "./lists.ts";
import { DevVm } from "./vm.ts";

const DEVICE = "/dev/kvm";

export class DevKvm implements KvmSystem {
	readonly backend = "dev";
	private readonly fd: Fd;
	private readonly vms = new Set<DevVm>();

	private constructor(fd: Fd) {
		this.fd = fd;
	}

	/**
	 * Opens /dev/kvm.
	 * @throws DevKvmUnavailable with one line: what is missing, and how to get it
	 */
	static open(): DevKvm {
		const libc = loadLibc();
		let number: number;
		try {
			number = libc.open(DEVICE);
		} catch (error) {
			throw new DevKvmUnavailable(whyClosed(error));
		}
		const kvm = new DevKvm(new Fd(libc, number));
		const version = kvm.apiVersion();
		if (version !== KVM_API_VERSION) {
			kvm.close();
			throw new DevKvmUnavailable(
				`${DEVICE} has API version ${version}; this program knows ${KVM_API_VERSION}`,
			);
		}
		return kvm;
	}

	apiVersion(): number {
		return this.fd.ioctl("KVM_GET_API_VERSION");
	}

	checkExtension(cap: KvmCapName): number {
		return this.fd.ioctl("KVM_CHECK_EXTENSION", KVM_CAP[cap]);
	}

	supportedCpuid(): KvmCpuidEntry2[] {
		return getCpuid(this.fd, "KVM_GET_SUPPORTED_CPUID");
	}

	msrIndexList(): number[] {
		return this.msrList("KVM_GET_MSR_INDEX_LIST");
	}

	msrFeatureIndexList(): number[] {
		return this.msrList("KVM_GET_MSR_FEATURE_INDEX_LIST");
	}

	/** Nanoseconds of CPU time that this thread has had, its guests' included. */
	threadCpuNs(): number {
		return this.fd.libc.threadCpuNs();
	}

	/** Binds this thread to the last of the CPUs that it may run on. @returns that CPU */
	pinThread(): number {
		const cpu = this.fd.libc.affinity().at(-1)!;
		this.fd.libc.pin(cpu);
		return cpu;
	}

	/** Asks with no room, which fails with E2BIG and says how many there are; then with as much. */
	private msrList(name: IoctlName): number[] {
		const { bytes, view } = buffer(kvmMsrList.bytes);
		try {
			this.fd.ioctl(name, bytes);
		} catch (error) {
			if (!(error instanceof KvmError && error.errno === "E2BIG")) throw error;
		}
		const count = view.getUint32(0, true);
		const list = buffer(kvmMsrList.bytes + 4 * count);
		kvmMsrList.write(list.view, 0, { nmsrs: count });
		this.fd.ioctl(name, list.bytes);
		return Array.from({ length: count }, (_, at) => list.view.getUint32(kvmMsrList.bytes + 4 * at, true));
	}

	createVm(): DevVm {
		const vcpuBytes = this.fd.ioctl("KVM_GET_VCPU_MMAP_SIZE");
		const vm = new DevVm(new Fd(this.fd.libc, this.fd.ioctl("KVM_CREATE_VM")), vcpuBytes, () => {
			this.vms.delete(vm);
		});
		this.vms.add(vm);
		return vm;
	}

	close(): void {
		for (const vm of [...this.vms]) vm.close();
		this.fd.close();
	}
}

function whyClosed(error: unknown): string {
	const errno = error instanceof KvmError ? error.errno : String(error);
	switch (errno) {
		case "ENOENT":
			return `${DEVICE} is not there: load kvm_intel or kvm_amd, and turn virtualization on in the firmware`;
		case "EACCES":
		case "EPERM":
			return `${DEVICE} may not be opened by this user: join the group kvm, or run as root`;
		default:
			return `${DEVICE} cannot be opened: ${errno}`;
	}
}
