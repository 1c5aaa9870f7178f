/**
 * The few calls of libc that /dev/kvm needs, through koffi: the only file that knows koffi. Another FFI would take
 * its place here.
 *
 * koffi is an optional dependency, and this is Linux on x86-64; where either is missing, `loadLibc` says so.
 */
import { createRequire } from "node:module";
import { KvmError } from "../uapi/api.ts";

/** Why /dev/kvm cannot be used here, and how it could: one line. */
export class DevKvmUnavailable extends Error {
	override readonly name = "DevKvmUnavailable";
}

/** Memory that was mapped into this process. */
export interface Mapping {
	readonly address: bigint;
	readonly bytes: Uint8Array;
}

/** What is called. Each throws KvmError with the errno's name. */
export interface Libc {
	open(path: string): number;
	close(fd: number): void;
	/** @param argument a number, or bytes that the kernel reads and writes */
	ioctl(fd: number, request: number, call: string, argument?: number | Uint8Array): number;
	/** Anonymous shared memory, or a file's. */
	map(bytes: number, fd?: number): Mapping;
	/** Unmaps. Views of the mapping must not be touched any more: V8 cannot detach memory that is not its own. */
	unmap(mapping: Mapping): void;
	/** madvise(MADV_DONTNEED on shared memory is MADV_REMOVE): the pages are given back and read as 0. */
	discard(mapping: Mapping): void;
	eventfd(): number;
	/** Reads 8 bytes of an eventfd. @returns null if its count is 0 */
	readCounter(fd: number): bigint | null;
	writeCounter(fd: number, count: bigint): void;
	getpid(): number;
	gettid(): number;
	/** Blocks a signal in this thread. @returns the kernel sigset of this thread before */
	blockSignal(signal: number): bigint;
	/** Takes a pending signal that is blocked, if there is one. */
	takeSignal(signal: number): void;
	/** Sends a signal to one thread of this process. */
	tgkill(tid: number, signal: number): void;
	/** Nanoseconds of CPU time that this thread has had, in the guest or not: what preemption does not lengthen. */
	threadCpuNs(): number;
	/** Binds this thread to one CPU. */
	pin(cpu: number): void;
	/** CPUs that this thread may run on. */
	affinity(): number[];
}

/** A function of libc as koffi gives it. */
type Native = (...args: unknown[]) => number | bigint;

interface Koffi {
	load(name: string): { func(name: string, result: string, parameters: string[]): Native };
	view(address: bigint, bytes: number): ArrayBuffer;
	errno(): number;
	readonly os: { readonly errno: Readonly<Record<string, number>> };
}

const O_RDWR_CLOEXEC = 0o2000002;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_ANONYMOUS = 0x20;
const EFD_NONBLOCK_CLOEXEC = 0o2004000;
const SIG_BLOCK = 0;
const MADV_REMOVE = 9;
const CLOCK_THREAD_CPUTIME_ID = 3;
const SIGSET_BYTES = 128;
const CPU_SET_BYTES = 128;

function loadKoffi(): Koffi {
	if (process.platform !== "linux" || process.arch !== "x64") {
		throw new DevKvmUnavailable(
			`/dev/kvm is used on Linux on x86-64 only; this is ${process.platform} on ${process.arch}`,
		);
	}
	try {
		const loaded = createRequire(import.meta.url)("koffi") as Koffi & { default?: Koffi };
		return loaded.default ?? loaded;
	} catch (error) {
		const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
		throw new DevKvmUnavailable(
			`/dev/kvm is reached through koffi, which is not here: npm install koffi (${why})`,
		);
	}
}

let loaded: Libc | null = null;

/**
 * libc by koffi; the same object each time.
 * @throws DevKvmUnavailable without koffi, or elsewhere than on Linux on x86-64
 */
export function loadLibc(): Libc {
	loaded ??= bind(loadKoffi());
	return loaded;
}

function bind(koffi: Koffi): Libc {
	const library = koffi.load("libc.so.6");
	const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
	// Two names for one number; the manual pages use this one.
	names.set(koffi.os.errno.EAGAIN!, "EAGAIN");
	/** A function whose result -1 is an error. */
	const checked = (name: string, result: string, parameters: string[]) => {
		const native = library.func(name, result, parameters);
		return (call: string, ...args: unknown[]): number => {
			const value = Number(native(...args));
			if (value !== -1) return value;
			const errno = koffi.errno();
			throw new KvmError(call, names.get(errno) ?? `errno ${errno}`);
		};
	};
	const open = checked("open", "int", ["str", "int"]);
	const close = checked("close", "int", ["int"]);
	const ioctlNumber = checked("ioctl", "int", ["int", "ulong", "ulong"]);
	const ioctlBytes = checked("ioctl", "int", ["int", "ulong", "void *"]);
	const mmap = library.func("mmap", "uint64_t", ["uint64_t", "size_t", "int", "int", "int", "int64_t"]);
	const munmap = checked("munmap", "int", ["uint64_t", "size_t"]);
	const madvise = checked("madvise", "int", ["uint64_t", "size_t", "int"]);
	const eventfd = checked("eventfd", "int", ["uint", "int"]);
	const read = checked("read", "int64_t", ["int", "void *", "size_t"]);
	const write = checked("write", "int64_t", ["int", "void *", "size_t"]);
	const getpid = checked("getpid", "int", []);
	const gettid = checked("gettid", "int", []);
	const tgkill = checked("tgkill", "int", ["int", "int", "int"]);
	const sigmask = library.func("pthread_sigmask", "int", ["int", "void *", "void *"]);
	const sigtimedwait = library.func("sigtimedwait", "int", ["void *", "void *", "void *"]);
	const setAffinity = checked("sched_setaffinity", "int", ["int", "size_t", "void *"]);
	const getAffinity = checked("sched_getaffinity", "int", ["int", "size_t", "void *"]);
	const clockGettime = checked("clock_gettime", "int", ["int", "void *"]);
	const timespec = new BigInt64Array(2);
	const signalSet = (signal: number) => {
		const set = new Uint8Array(SIGSET_BYTES);
		set[(signal - 1) >> 3]! |= 1 << ((signal - 1) & 7);
		return set;
	};
	return {
		open: (path) => open(`open ${path}`, path, O_RDWR_CLOEXEC),
		close: (fd) => void close("close", fd),
		ioctl: (fd, request, call, argument = 0) =>
			typeof argument === "number"
				? ioctlNumber(call, fd, request, argument)
				: ioctlBytes(call, fd, request, argument),
		map: (bytes, fd = -1) => {
			const flags = MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0);
			const address = BigInt.asUintN(64, BigInt(mmap(0, bytes, PROT_READ_WRITE, flags, fd, 0)));
			if (address === 2n ** 64n - 1n) {
				throw new KvmError("mmap", names.get(koffi.errno()) ?? "unknown", `${bytes} bytes`);
			}
			return { address, bytes: new Uint8Array(koffi.view(address, bytes)) };
		},
		unmap: ({ address, bytes }) => void munmap("munmap", address, bytes.length),
		discard: ({ address, bytes }) => void madvise("madvise", address, bytes.length, MADV_REMOVE),
		eventfd: () => eventfd("eventfd", 0, EFD_NONBLOCK_CLOEXEC),
		readCounter: (fd) => {
			const bytes = new Uint8Array(8);
			try {
				read("read", fd, bytes, 8);
			} catch (error) {
				if (error instanceof KvmError && error.errno === "EAGAIN") return null;
				throw error;
			}
			return new DataView(bytes.buffer).getBigUint64(0, true);
		},
		writeCounter: (fd, count) => {
			const bytes = new Uint8Array(8);
			new DataView(bytes.buffer).setBigUint64(0, count, true);
			write("write", fd, bytes, 8);
		},
		getpid: () => getpid("getpid"),
		gettid: () => gettid("gettid"),
		blockSignal: (signal) => {
			const before = new Uint8Array(SIGSET_BYTES);
			const errno = Number(sigmask(SIG_BLOCK, signalSet(signal), before));
			if (errno !== 0) throw new KvmError("pthread_sigmask", names.get(errno) ?? `errno ${errno}`);
			return new DataView(before.buffer).getBigUint64(0, true);
		},
		// EAGAIN, when none is pending, is no error here.
		takeSignal: (signal) => void sigtimedwait(signalSet(signal), null, new Uint8Array(16)),
		tgkill: (tid, signal) => void tgkill("tgkill", getpid("getpid"), tid, signal),
		threadCpuNs: () => {
			clockGettime("clock_gettime", CLOCK_THREAD_CPUTIME_ID, timespec);
			return Number(timespec[0]! * 1_000_000_000n + timespec[1]!);
		},
		pin: (cpu) => {
			const set = new Uint8Array(CPU_SET_BYTES);
			set[cpu >> 3] = 1 << (cpu & 7);
			setAffinity(`sched_setaffinity to CPU ${cpu}`, 0, CPU_SET_BYTES, set);
		},
		affinity: () => {
			const set = new Uint8Array(CPU_SET_BYTES);
			getAffinity("sched_getaffinity", 0, CPU_SET_BYTES, set);
			return Array.from({ length: CPU_SET_BYTES * 8 }, (_, cpu) => cpu).filter(
				(cpu) => (set[cpu >> 3]! & (1 << (cpu & 7))) !== 0,
			);
		},
	};
}
