// Writes docs/kvm-unit-tests.md from what `reenter kut` printed, and TCG's score if there is one:
//
//     npx reenter kut DIR --vendor vmx > vmx.txt; npx reenter kut DIR --vendor svm > svm.txt
//     node scripts/kut-docs.mjs vmx.txt svm.txt tcg.tsv i386-vmx.txt i386-svm.txt i386-tcg.txt
//
// tcg.tsv: test, rc, passed, failed, skipped, seconds, status. i386-tcg.txt: what kvm-unit-tests' own run_tests.sh printed. A test that a file names twice counts by its last line.
import { readFileSync, writeFileSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";

const PAGE = "docs/kvm-unit-tests.md";

/** Why a test is not run, fails, or is not judged by its default: by name. */
const REASONS = {
	pks: "AMD has no protection keys for supervisor pages",
	hyperv_clock: "no Hyper-V enlightenments",
	intel_iommu: "no IOMMU",
	asyncpf: "asynchronous page faults are not offered",
	pmu: "no PMU is offered",
	pmu_lbr: "no PMU is offered",
	pmu_pebs: "no PMU is offered",
	vmware_backdoors: "no VMware backdoor",
	"tsx-ctrl": "no TSX",
};

/** Why the tests of the group "tasks" are skipped, as `reenter kut` says it. */
const TASKS = "no hardware task switches";

/** The same where the build of i386 does something else. */
const REASONS_I386 = {
	smap: "its page faults go through a task gate",
	eventinj: "its page faults go through a task gate",
};

/** Lines `STATUS name (detail)` by name, with or without colours. */
function readResults(path) {
	const results = new Map();
	const text = stripVTControlCharacters(readFileSync(path, "utf8"));
	for (const line of text.split("\n")) {
		const match = /^(PASS|FAIL|SKIP) (\S+)(?: \((.*)\))?\s*$/.exec(line);
		if (match !== null) results.set(match[2], { status: match[1], detail: match[3] ?? "" });
	}
	return results;
}

function readTcg(path) {
	const results = new Map();
	for (const line of readFileSync(path, "utf8").split("\n").slice(1)) {
		const cells = line.split("\t");
		if (cells.length > 6) results.set(cells[0], cells[6]);
	}
	return results;
}

const paths = process.argv.slice(2);
if (paths.length !== 6) {
	console.error(
		"kut-docs: want what `reenter kut` printed for vmx and for svm and TCG's score, of x86_64 and of i386",
	);
	process.exit(2);
}
const [vmx, svm, tcg] = [readResults(paths[0]), readResults(paths[1]), readTcg(paths[2])];
const [vmx32, svm32] = [readResults(paths[3]), readResults(paths[4])];
const tcg32 = new Map([...readResults(paths[5])].map(([name, { status }]) => [name, status]));
const cell = (result) => (result === undefined ? "not run" : result.status);

function rowOf(name, vmx, svm, tcg, reasons) {
	const detail = svm.get(name)?.detail || vmx.get(name)?.detail || "";
	const passes = vmx.get(name)?.status === "PASS" && svm.get(name)?.status === "PASS";
	const remark = passes ? detail : (reasons[name] ?? detail);
	return `| ${name} | ${cell(vmx.get(name))} | ${cell(svm.get(name))} | ${tcg.get(name) ?? ""} | ${remark} |`;
}

const names = [...new Set([...vmx.keys(), ...svm.keys()])].sort();
const rows = names.map((name) => rowOf(name, vmx, svm, tcg, REASONS));

// Of i386 what is of that build: not the tests of x86_64, nor what is skipped in both builds.
const names32 = [...new Set([...vmx32.keys(), ...svm32.keys()])].sort().filter((name) => {
	const skipped = vmx32.get(name)?.status === "SKIP" && svm32.get(name)?.status === "SKIP";
	return !skipped || svm32.get(name).detail === TASKS;
});
const rows32 = names32.map((name) => rowOf(name, vmx32, svm32, tcg32, { ...REASONS, ...REASONS_I386 }));
writeFileSync(
	PAGE,
	`# kvm-unit-tests

What \`reenter kut\` printed here, beside QEMU's TCG with the same build of the tests. Not listed: what was not run. Tests of
nested virtualization, Hyper-V, the PMU and devices that are not there are skipped with their reason, \`taskswitch\` since it is
of i386 (see the end). \`access_fep\` needs KVM's forced-emulation prefix, which is off by default in v6.18 and is not there; \`access-reduced-maxphyaddr\`
wants a module parameter that is off by default too. This page is made by \`node scripts/kut-docs.mjs\`.

Commit bc11d1e ran them all, both vendors at once, with timeouts of 600 s of wall time.

\`access\` makes two times 9,338,888 accesses. Alone on the machine it passes within the runner's 90 s: 75 s on vmx and 76 on svm; when the
machine itself was slower, 86. CPU seconds of the others that take longest, of an earlier build, and their timeouts, which are of wall time:
\`vmexit_cr0_wp\` 69 on vmx and 29 on svm, of 90; \`kvmclock_test\` 52 and 56, of 90; \`vmexit_cr4_pge\` 50 and 30, of 90; \`xapic\` 28 and
26, of 60; \`sieve\` 17, of 180.

| test | vmx | svm | TCG | |
|---|---|---|---|---|
${rows.join("\n")}

## i386

The same tests built by \`./configure --arch=i386\`: 32-bit code with two-level page tables and 4 MiB pages. Not listed: tests of
x86_64 alone, and what is skipped in both builds. \`reenter kut\` reads the architecture in the build's \`config.mak\`. There are no
hardware task switches (limits.md): the two tests of them are skipped, and \`smap\` and \`eventinj\` fail where a page fault goes through a
task gate. Both vendors were run with timeouts of 600 s at commit bc11d1e.

| test | vmx | svm | TCG | |
|---|---|---|---|---|
${rows32.join("\n")}
`,
);
console.log(`${PAGE}: ${names.length} tests of x86_64, ${names32.length} of i386`);
