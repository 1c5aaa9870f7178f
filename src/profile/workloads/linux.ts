/** An unmodified Linux kernel as a workload, from its first instruction until it turns the machine off. */
import { ImageError } from "../../guests/image.ts";
import { loadImage } from "../../guests/load.ts";
import { ProfileError } from "../errors.ts";
import type { Workload } from "./workload.ts";

/** The workload's name. The kernel is whoever asks for it's, so it is not in the list of workloads. */
export const LINUX_BOOT = "linux-boot";

const MIB = 2 ** 20;
/** Guest memory, as bench/linux.mjs boots with. */
const GUEST_RAM_BYTES = 256 * MIB;
/** The serial console, and addresses as System.map has them. */
const COMMAND_LINE = "console=ttyS0 earlyprintk=serial nokaslr";

/** What is booted. */
export interface LinuxFiles {
	/** A bzImage. */
	readonly kernel: Uint8Array;
	readonly initrd: Uint8Array;
	/** Default: the serial console, and no random addresses. */
	readonly append?: string;
}

/**
 * Boots a kernel.
 * @throws ProfileError if the file is no bzImage
 */
export function linuxWorkload({ kernel, initrd, append = COMMAND_LINE }: LinuxFiles): Workload {
	const image = imageOf(kernel);
	if (image.protocol !== "linux") throw new ProfileError("the kernel is no bzImage");
	return {
		name: LINUX_BOOT,
		label: "an unmodified Linux kernel from its start until it turns the machine off",
		guest: { image, commandLine: append, initrd },
		vendors: ["vmx", "svm"],
		vcpus: 1,
		iterations: 1,
		guestRamBytes: GUEST_RAM_BYTES,
	};
}

function imageOf(kernel: Uint8Array) {
	try {
		return loadImage(kernel);
	} catch (error) {
		if (error instanceof ImageError) throw new ProfileError(`the kernel: ${error.message}`);
		throw error;
	}
}
