/** The sample of test/silicon/vectors, which a Zen 4 made in user mode, through the real /dev/kvm. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { DevKvm } from "../../src/devkvm/system.ts";
import { Comparer } from "../silicon/vectors/compare.ts";
import { WINDOW } from "../silicon/vectors/places.ts";
import { decodeRecords } from "../silicon/vectors/records.ts";
import { CaseState } from "../silicon/vectors/state.ts";
import { KvmCaseMachine } from "./case-machine.ts";
import { UNAVAILABLE } from "./support.ts";

/** Cases as the samples were made, and one of how many is run: each is some ioctls. */
// biome-ignore format: one row a sample
const SAMPLES: readonly (readonly [kind: string, cases: number, step: number])[] = [
	["x87",     12, 12],
	["integer", 12, 12],
	["mmx",      6,  6],
	["vector",   3,  3],
];

/** A KVM inside of a guest without hardware virtualization may emulate more than it can. */
function runsUserCode(kvm: DevKvm): boolean {
	const machine = new KvmCaseMachine(kvm);
	const nop = { bytes: Uint8Array.of(0x90), classes: 0, region: WINDOW, pins: [], indices: null };
	const state = new CaseState();
	machine.begin(nop);
	return Array.from({ length: 32 }, (_, number) => number).every((number) => {
		state.make(nop, 1, number, 0);
		return machine.run(nop, state) === -1;
	});
}

/** Why the sample is not compared here, or null: other processors differ where results are undefined. */
function notThisProcessor(): string | null {
	if (UNAVAILABLE !== null) return UNAVAILABLE;
	const kvm = DevKvm.open();
	try {
		const entries = kvm.supportedCpuid();
		const vendor = entries.find((entry) => entry.function === 0)?.ebx;
		const family = entries.find((entry) => entry.function === 0x8000_0001)?.eax ?? 0;
		if (vendor !== 0x6874_7541) return "the sample is an AMD processor's";
		if (((family >>> 20) & 0xff) + ((family >>> 8) & 15) !== 0x19) return "the sample is a Zen 4's";
		return runsUserCode(kvm) ? null : "this KVM raises #UD for a NOP at level 3, in some states";
	} finally {
		kvm.close();
	}
}

const reason = notThisProcessor();
const read = (name: string) =>
	gunzipSync(readFileSync(join(import.meta.dirname, "../silicon/vectors", name)));

describe.skipIf(reason !== null)(`/dev/kvm${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
	test.each(SAMPLES)("%s instructions do in a guest what they do outside", (kind, cases, step) => {
		const kvm = DevKvm.open();
		try {
			const records = decodeRecords(read(`${kind}.records.gz`));
			const comparer = new Comparer(read(`${kind}.results.gz`), new KvmCaseMachine(kvm));
			const found = records.flatMap((record, at) => comparer.run(record, 1, at, cases, 1, step));
			expect(found.map(({ mnemonic, text }) => `${mnemonic}: ${text}`)).toEqual([]);
			expect(comparer.cases).toBe(records.length * Math.ceil(cases / step));
		} finally {
			kvm.close();
		}
	});
});
