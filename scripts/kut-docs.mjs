// Writes docs/kvm-unit-tests.md from what `reenter kut` printed, and TCG's score if there is one:
//
//     npx reenter kut DIR --vendor vmx > vmx.txt; npx reenter kut DIR --vendor svm > svm.txt
//     node scripts/kut-docs.mjs vmx.txt svm.txt [tcg.tsv]      tcg.tsv: test, rc, passed, failed, skipped, seconds, status
//
// A test that a file names twice counts by its last line.
import { readFileSync, writeFileSync } from "node:fs";

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

/** Lines `STATUS name (detail)` by name. */
function readResults(path) {
	const results = new Map();
	for (const line of readFileSync(path, "utf8").split("\n")) {
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

const [vmxPath, svmPath, tcgPath] = process.argv.slice(2);
if (svmPath === undefined) {
	console.error("kut-docs: want what `reenter kut` printed for vmx and for svm, and perhaps TCG's score");
	process.exit(2);
}
const vmx = readResults(vmxPath);
const svm = readResults(svmPath);
const tcg = tcgPath === undefined ? new Map() : readTcg(tcgPath);
const names = [...new Set([...vmx.keys(), ...svm.keys()])].sort();
const cell = (result) => (result === undefined ? "not run" : result.status);
const rows = names.map((name) => {
	const detail = svm.get(name)?.detail || vmx.get(name)?.detail || "";
	const passes = vmx.get(name)?.status === "PASS" && svm.get(name)?.status === "PASS";
	const remark = passes ? detail : (REASONS[name] ?? detail);
	return `| ${name} | ${cell(vmx.get(name))} | ${cell(svm.get(name))} | ${tcg.get(name) ?? ""} | ${remark} |`;
});
writeFileSync(
	PAGE,
	`# kvm-unit-tests

What \`reenter kut\` printed here, beside QEMU's TCG with the same build of the tests. Not listed: what was not run. Tests of
nested virtualization, Hyper-V, the PMU and devices that are not there are skipped with their reason, \`taskswitch\` since it is
of i386. \`access_fep\` needs KVM's forced-emulation prefix, which is off by default in v6.18 and is not there; \`access-reduced-maxphyaddr\`
wants a module parameter that is off by default too. This page is made by \`node scripts/kut-docs.mjs\`.

Commit cd19eee ran them all, both vendors at once and the page's tests beside them, with timeouts of 600 s of wall time. \`debug\` on vmx,
which did not end with that commit, is of fd68354, which mends it.

\`access\` makes two times 9,338,888 accesses. Alone on the machine it passes within the runner's 90 s: 75 s on vmx and 76 on svm; when the
machine itself was slower, 86. CPU seconds of the others that take longest, of an earlier build, and their timeouts, which are of wall time:
\`vmexit_cr0_wp\` 69 on vmx and 29 on svm, of 90; \`kvmclock_test\` 52 and 56, of 90; \`vmexit_cr4_pge\` 50 and 30, of 90; \`xapic\` 28 and
26, of 60; \`sieve\` 17, of 180.

| test | vmx | svm | TCG | |
|---|---|---|---|---|
${rows.join("\n")}
`,
);
console.log(`${PAGE}: ${names.length} tests`);
