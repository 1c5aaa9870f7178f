/**
 * Why KVM_RUN returned, as typed values: `struct kvm_run`'s exit reason and the member of its union that belongs to it
 * (linux/kvm.h, v6.18). A reason that this table does not know is a value too.
 */

export type VcpuExit =
	/** KVM_EXIT_IO. `data` is a view: what is written into it answers an IN at the next run. */
	| {
			readonly reason: "io";
			readonly write: boolean;
			readonly port: number;
			/** Bytes of an element: 1, 2 or 4. */
			readonly size: number;
			/** Elements: more than 1 for string I/O. */
			readonly count: number;
			/** `size * count` bytes, little-endian. */
			readonly data: Uint8Array;
	  }
	/** KVM_EXIT_MMIO. `data` is a view of `len` bytes: what is written into it answers a read at the next run. */
	| {
			readonly reason: "mmio";
			readonly write: boolean;
			readonly gpa: bigint;
			readonly data: Uint8Array;
	  }
	| { readonly reason: "hlt" }
	| { readonly reason: "shutdown" }
	/** A signal, or immediate_exit. */
	| { readonly reason: "intr" }
	| { readonly reason: "irq-window-open" }
	| { readonly reason: "fail-entry"; readonly hardwareReason: bigint; readonly cpu: number }
	/** `data` as KVM gives it; `message` where the machine can say more. */
	| {
			readonly reason: "internal-error";
			readonly suberror: number;
			readonly data: readonly bigint[];
			readonly message: string;
	  }
	| {
			readonly reason: "debug";
			readonly exception: number;
			readonly pc: bigint;
			readonly dr6: bigint;
			readonly dr7: bigint;
	  }
	| { readonly reason: "exception"; readonly exception: number; readonly errorCode: number }
	| {
			readonly reason: "hypercall";
			readonly nr: bigint;
			readonly args: readonly bigint[];
			readonly longmode: boolean;
	  }
	| {
			readonly reason: "rdmsr" | "wrmsr";
			readonly index: number;
			readonly data: bigint;
			readonly why: number;
	  }
	| { readonly reason: "system-event"; readonly type: number; readonly data: readonly bigint[] }
	| { readonly reason: "ioapic-eoi"; readonly vector: number }
	| { readonly reason: "tpr-access"; readonly rip: bigint; readonly write: boolean }
	| { readonly reason: "set-tpr" }
	| { readonly reason: "nmi" }
	| { readonly reason: "dirty-ring-full" }
	| { readonly reason: "bus-lock" }
	| { readonly reason: "notify"; readonly flags: number }
	/** KVM_EXIT_UNKNOWN: the hardware's own reason. */
	| { readonly reason: "unknown"; readonly hardwareReason: bigint }
	/** An exit reason that is not in this table. */
	| { readonly reason: "other"; readonly number: number };

/** One line on an exit, for messages and comparisons: no addresses of this process, nothing that varies from run to run. */
export function describeExit(exit: VcpuExit): string {
	const hex = (value: number | bigint) => `0x${value.toString(16)}`;
	switch (exit.reason) {
		case "io": {
			const bytes = Array.from(exit.data, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
			return `io ${exit.write ? "out" : "in"} ${hex(exit.port)} ${exit.count}×${exit.size}${exit.write ? ` ${bytes}` : ""}`;
		}
		case "mmio": {
			const bytes = Array.from(exit.data, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
			return `mmio ${exit.write ? "write" : "read"} ${hex(exit.gpa)} ${exit.data.length}${exit.write ? ` ${bytes}` : ""}`;
		}
		case "fail-entry":
			return `fail-entry ${hex(exit.hardwareReason)}`;
		case "internal-error":
			return `internal-error suberror ${exit.suberror}`;
		case "debug":
			return `debug exception ${exit.exception} dr6 ${hex(exit.dr6)}`;
		case "exception":
			return `exception ${exit.exception}`;
		case "hypercall":
			return `hypercall ${hex(exit.nr)}`;
		case "rdmsr":
		case "wrmsr":
			return `${exit.reason} ${hex(exit.index)}`;
		case "system-event":
			return `system-event ${exit.type}`;
		case "ioapic-eoi":
			return `ioapic-eoi ${exit.vector}`;
		case "unknown":
			return `unknown ${hex(exit.hardwareReason)}`;
		case "other":
			return `exit reason ${exit.number}`;
		default:
			return exit.reason;
	}
}
