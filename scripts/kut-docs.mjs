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
	kvmclock_test:
		"10 million loops of RDTSC on two CPUs, each of which waits for the other: minutes. Passes with 100000 loops",
	xapic:
		"on vmx not at its end after its timeout: delays are loops of RDTSC and PAUSE, which are not translated, and each IPI is two emulated accesses",
	pks: "AMD has no protection keys for supervisor pages",
	vmexit_cr4_pge:
		"on vmx not at its end after 90 s: it does not exit there, and each round empties the TLB of two CPUs",
	hyperv_clock: "no Hyper-V enlightenments",
	intel_iommu: "no IOMMU",
	asyncpf: "asynchronous page faults are not offered",
	pmu: "no PMU is offered",
	pmu_lbr: "no PMU is offered",
	pmu_pebs: "no PMU is offered",
	vmware_backdoors: "no VMware backdoor",
	"tsx-ctrl": "no TSX",
};

/** Tests whose latest run was cut off by its timeout on a busy machine, or was not made: the line is that of the run before. */
const EARLIER =
	"cet, idt_test, kvmclock_test, rdpru, smptest, smptest3, syscall, umip, vmexit_cr0_wp, vmexit_cr4_pge, vmexit_inl_pmtimer, vmexit_ple_round_robin, vmexit_tscdeadline, vmexit_tscdeadline_immed, xapic on vmx; cet, debug, emulator, eventinj, idt_test, ioapic, la57, lam, memory, msr, msr64, pcid-asymmetric, pcid-disabled, pcid-enabled, pks, pku, rdpru, realmode, rmap_chain, smap, smptest, smptest3, syscall, tsc, tsc_adjust, umip, vmexit_cpuid, vmexit_cr4_pge, vmexit_inl_pmtimer, vmexit_mov_from_cr8, vmexit_mov_to_cr8, vmexit_ple_round_robin, vmexit_tscdeadline, vmexit_tscdeadline_immed, vmexit_vmcall, xapic, xsave on svm";

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
nested virtualization, Hyper-V, the PMU and devices that are not there are skipped with their reason. This page is made by
\`node scripts/kut-docs.mjs\`. Timeouts are of wall time, here of 280 s
for every test, since the machine was busy (load 15 to 25 on two cores); from an earlier run, on a quieter machine, are:
${EARLIER}.

\`access\` and its variants (TCG is not at its end after 90 s either) and \`sieve\` (TCG takes 31 s) have not been run to their end.

| test | vmx | svm | TCG | |
|---|---|---|---|---|
${rows.join("\n")}
`,
);
console.log(`${PAGE}: ${names.length} tests`);
