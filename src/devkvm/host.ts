/** What this computer is, as /proc, /sys and KVM say: for `reenter doctor` and the heads of measurements. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { release } from "node:os";
import { KVM_CAP, type KvmCapName } from "../uapi/constants.ts";
import { DevKvmUnavailable, loadLibc } from "./libc.ts";
import { DevKvm } from "./system.ts";

/** What can be known without measuring. */
export interface HostInfo {
	readonly kernel: string;
	readonly cpu: string;
	/** Flags of /proc/cpuinfo. */
	readonly flags: ReadonlySet<string>;
	/** KVM's vendor module, "none" where there is none. */
	readonly module: string;
	/** This computer is itself a guest. */
	readonly guest: boolean;
	/** koffi works here. */
	readonly koffi: boolean;
	/** /dev/kvm can be used; else why not. */
	readonly devKvm: true | string;
	/** Capabilities by name; empty where /dev/kvm cannot be used. */
	readonly capabilities: Readonly<Partial<Record<KvmCapName, number>>>;
	/** The perf event source of the processor's own counters is there. */
	readonly perfCounters: boolean;
}

function read(path: string): string {
	try {
		return readFileSync(path, "utf8");
	} catch {
		// What a kernel does not have is not said; an empty text says that.
		return "";
	}
}

function cpuinfo(key: string): string {
	return new RegExp(`^${key}\\s*:\\s*(.*)$`, "m").exec(read("/proc/cpuinfo"))?.[1] ?? "";
}

/** Built into the kernel or loaded, a module has a folder below /sys/module. */
function vendorModule(): string {
	const folder = "/sys/module";
	const names = existsSync(folder) ? readdirSync(folder) : [];
	return names.find((name) => /^kvm_[a-z]+$/.test(name)) ?? "none";
}

/** Looks at this computer. */
export function hostInfo(): HostInfo {
	const flags = new Set(cpuinfo("flags").split(" "));
	let koffi = true;
	try {
		loadLibc();
	} catch (error) {
		if (!(error instanceof DevKvmUnavailable)) throw error;
		koffi = false;
	}
	const capabilities: Partial<Record<KvmCapName, number>> = {};
	let devKvm: true | string = true;
	try {
		const kvm = DevKvm.open();
		for (const name of Object.keys(KVM_CAP) as KvmCapName[]) capabilities[name] = kvm.checkExtension(name);
		kvm.close();
	} catch (error) {
		if (!(error instanceof DevKvmUnavailable)) throw error;
		devKvm = error.message;
	}
	return {
		kernel: release(),
		cpu: cpuinfo("model name") || "unknown processor",
		flags,
		module: vendorModule(),
		guest: flags.has("hypervisor"),
		koffi,
		devKvm,
		capabilities,
		perfCounters: existsSync("/sys/bus/event_source/devices/cpu"),
	};
}
