/**
 * Replay tokens: `r1:<tree><flows>.<vendor>.<configuration>.<guest>.<choices>`, 80 characters or less.
 *
 * `tree` is the hash of the tree (8 characters), `flows` one character a flow that the vendor runs, left out where the token
 * would be too long. `vendor` is `vmx`, or `vmx@turin` on a CPU model other than the usual one. `configuration` is each
 * factor's value as a digit of its own base. `choices` are events: a letter for the kind, a capital for one in the guest,
 * and the op: `d57A60`.
 */
import { changedFlows, differingFlows, flowLetters, treeHash } from "../kvm/flow/fingerprint.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { defaultModel } from "../silicon/models/models.ts";
import type { VendorTree } from "../kvm/flow/vendor-module.ts";
import { type Configuration, DEFAULT_CONFIGURATION, FACTOR_NAMES, factorValues } from "./configuration.ts";
import { EVENT_KINDS } from "./events.ts";
import type { Injection } from "./types.ts";

/** The version of the program; the check's results are those of one version. A test holds it to package.json. */
export const VERSION = "0.1.0";

const TOKEN_MAX = 80;
const HASH_CHARACTERS = 8;
const LETTER_A = 97;

/** What a token says. */
export interface Replay {
	readonly treeHash: string;
	/** One character a flow, or empty. */
	readonly flowLetters: string;
	/** A vendor, or a vendor module of the tree. */
	readonly vendor: string;
	/** A CPU model; empty: the vendor's usual one. */
	readonly model: string;
	readonly configuration: Configuration;
	readonly guest: string;
	readonly schedule: readonly Injection[];
}

/** What a token's encoding rests on besides the tree. */
const SALT = [VERSION, ...FACTOR_NAMES, ...EVENT_KINDS].join(" ");

/** A token's hash of a tree. */
export function tokenHash(tree: Tree): string {
	return treeHash(tree, SALT);
}

/** A configuration as a number, each factor a digit of its own base. */
function configurationNumber(configuration: Configuration): number {
	return FACTOR_NAMES.reduceRight((number, factor) => {
		const values = factorValues(factor);
		return number * values.length + values.indexOf(configuration[factor]);
	}, 0);
}

function readConfiguration(number: number): Configuration | null {
	const chosen: Record<string, string> = { ...DEFAULT_CONFIGURATION };
	let rest = number;
	for (const factor of FACTOR_NAMES) {
		const values = factorValues(factor);
		chosen[factor] = values[rest % values.length]!;
		rest = Math.floor(rest / values.length);
	}
	return rest === 0 ? (chosen as Configuration) : null;
}

function choices(schedule: readonly Injection[]): string {
	return schedule
		.map(({ event, at, inGuest }) => {
			const letter = String.fromCharCode(LETTER_A + EVENT_KINDS.indexOf(event));
			return `${inGuest === true ? letter.toUpperCase() : letter}${at}`;
		})
		.join("");
}

function readChoices(text: string): Injection[] | null {
	if (!/^([a-zA-Z]\d+)*$/.test(text)) return null;
	const schedule: Injection[] = [];
	for (const [, letter, at] of text.matchAll(/([a-zA-Z])(\d+)/g)) {
		const event = EVENT_KINDS[letter!.toLowerCase().charCodeAt(0) - LETTER_A];
		if (event === undefined) return null;
		schedule.push({ event, at: Number(at), ...(letter! < "a" ? { inGuest: true } : {}) });
	}
	return schedule;
}

/** The token of one run. @param target the tree with its vendor module loaded */
export function makeToken(
	target: VendorTree,
	run: Pick<Replay, "configuration" | "guest" | "schedule"> & { readonly model: CpuModel },
): string {
	const vendor = target.tree.loadedModule ?? target.vendor;
	const rest = [
		run.model === defaultModel(target.vendor) ? vendor : `${vendor}@${run.model.name}`,
		configurationNumber(run.configuration).toString(36),
		run.guest,
		choices(run.schedule),
	].join(".");
	const hash = `r1:${tokenHash(target.tree)}`;
	const letters = flowLetters(target).map(([, letter]) => letter);
	const whole = `${hash}${letters.join("")}.${rest}`;
	return whole.length <= TOKEN_MAX ? whole : `${hash}.${rest}`;
}

/** Reads a token. @returns null if it is none of this program */
export function readToken(token: string): Replay | null {
	const match = /^r1:([\w-]+)\.([\w-]+)(?:@([\w-]+))?\.([0-9a-z]+)\.([\w-]+)\.(\w*)$/.exec(token.trim());
	if (match === null || match[1]!.length < HASH_CHARACTERS) return null;
	const configuration = readConfiguration(Number.parseInt(match[4]!, 36));
	const schedule = readChoices(match[6]!);
	if (configuration === null || schedule === null) return null;
	return {
		treeHash: match[1]!.slice(0, HASH_CHARACTERS),
		flowLetters: match[1]!.slice(HASH_CHARACTERS),
		vendor: match[2]!,
		model: match[3] ?? "",
		configuration,
		guest: match[5]!,
		schedule,
	};
}

const differ = (names: readonly string[]) =>
	`${names.join(", ")} ${names.length === 1 ? "differs" : "differ"}`;

/**
 * Why a token is not of this tree, as half a sentence; null if it is.
 * @param made the tree that it was made of, if that is known: then the flows named are exactly those that differ
 */
export function tokenMismatch(target: VendorTree, replay: Replay, made?: VendorTree): string | null {
	if (tokenHash(target.tree) === replay.treeHash) return null;
	if (made !== undefined) {
		const names = differingFlows(target, made);
		return `it is of ${made.tree.name}${names.length === 0 ? "" : `: ${differ(names)}`}`;
	}
	if (replay.flowLetters === "") return "it is of another tree, or another version of reenter";
	const changed = changedFlows(target, replay.flowLetters);
	if (changed.length > 0) return `it is of another tree: ${differ(changed)}`;
	const gone = replay.flowLetters.length - flowLetters(target).length;
	if (gone > 0) return `it is of another tree, which has ${gone === 1 ? "a flow" : `${gone} flows`} more`;
	return "it is of a tree with the same flows, and of another version of reenter";
}
