/** kvm-unit-tests' list of tests, unittests.cfg: sections of a test each, with `name = value` lines. */

/** One test. */
export interface UnitTest {
	readonly name: string;
	/** Below the folder of unittests.cfg. */
	readonly file: string;
	readonly smp: number;
	/** The guest's arguments. */
	readonly args: string;
	/** QEMU's options: qemu_params, extra_params in older versions. */
	readonly params: string;
	readonly groups: readonly string[];
	/** i386 or x86_64; empty for both. */
	readonly arch: string;
	/** Files of the host and what they must hold. */
	readonly check: readonly string[];
	/** Seconds; null for the runner's own. */
	readonly timeoutSeconds: number | null;
	/** The same as it is written; empty for the runner's own. */
	readonly timeout: string;
}

/** unittests.cfg cannot be understood, in one line. */
export class KutConfigError extends Error {
	override readonly name = "KutConfigError";
}

/**
 * ARCH of a build's config.mak, i386 or x86_64, as `./configure --arch` wrote it.
 * @param path for messages
 * @throws KutConfigError
 */
export function parseArch(text: string, path: string): string {
	const arch = /^ARCH=(.*)$/m.exec(text)?.[1];
	if (arch !== "i386" && arch !== "x86_64")
		throw new KutConfigError(`${path}: want ARCH=i386 or ARCH=x86_64, found ${arch ?? "none"}`);
	return arch;
}

/** A value without the quotes of the shell that kvm-unit-tests gives it to. */
function unquote(value: string): string {
	return value.trim().replace(/^(["'])(.*)\1$/s, "$2");
}

function seconds(value: string, where: string): number {
	const match = /^(\d+)([smh]?)$/.exec(value);
	if (match === null) throw new KutConfigError(`${where}: timeout "${value}" is no number of seconds`);
	return Number(match[1]) * { s: 1, m: 60, h: 3600 }[match[2] === "" ? "s" : match[2]!]!;
}

function makeTest(name: string, values: ReadonlyMap<string, string>, where: string): UnitTest {
	const get = (key: string) => unquote(values.get(key) ?? "");
	const words = (key: string) =>
		get(key)
			.split(/\s+/)
			.filter((word) => word !== "");
	const smp = Number(get("smp") || "1");
	if (!Number.isInteger(smp) || smp < 1)
		throw new KutConfigError(`${where}: smp "${get("smp")}" is no number`);
	return {
		name,
		file: get("file"),
		smp,
		args: get("test_args"),
		params: get("qemu_params") || get("extra_params"),
		groups: words("groups"),
		arch: get("arch"),
		check: words("check"),
		timeout: get("timeout"),
		timeoutSeconds: values.has("timeout") ? seconds(get("timeout"), where) : null,
	};
}

/**
 * Reads unittests.cfg.
 * @param path for messages
 * @throws KutConfigError
 */
export function parseUnittests(text: string, path: string): UnitTest[] {
	const tests: UnitTest[] = [];
	let name = "";
	let values = new Map<string, string>();
	let at = 0;
	const finish = () => {
		if (name !== "") tests.push(makeTest(name, values, `${path}:${at}: [${name}]`));
	};
	const lines = text.split("\n");
	for (at = 1; at <= lines.length; at++) {
		const line = lines[at - 1]!.trim();
		if (line === "" || line.startsWith("#")) continue;
		const section = /^\[(.*)\]$/.exec(line);
		if (section !== null) {
			finish();
			name = section[1]!;
			values = new Map();
			continue;
		}
		const pair = /^(\w+)\s*=\s*(.*)$/.exec(line);
		if (pair === null || name === "")
			throw new KutConfigError(`${path}:${at}: "${line}" is no section and no value`);
		let value = pair[2]!;
		// A value in three quotes goes over several lines.
		if (value.startsWith('"""')) {
			value = value.slice(3);
			while (!value.includes('"""') && at < lines.length) value += ` ${lines[at++]!}`;
			value = value.replace(/"""[\s\S]*$/, "").replaceAll("\\", "");
		}
		values.set(pair[1]!, value);
	}
	finish();
	return tests;
}
