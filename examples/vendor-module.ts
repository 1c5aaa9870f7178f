/**
 * A vendor module out of tree: VMX with a counter in each exit that user space reads, which keeps the guest's XCR0, XSS
 * and PKRU loaded until the fastpath loop is left.
 *
 *     reenter check --patch examples/vendor-module.ts --vendor counting-vmx
 *     reenter cost invd --patch examples/vendor-module.ts --vendor counting-vmx
 *     reenter diff --patch examples/vendor-module.ts --vendor counting-vmx
 */
import { FASTPATH, OP, type Vcpu, definePatch } from "reenter";

/** The counter's page is mapped once, and a fastpath exit counts half. */
const count = (v: Vcpu) => {
	v.cpu.op(OP.rdtsc);
	if (v.exitFastpath === FASTPATH.REENTER_GUEST) v.cpu.code(2);
};

export default definePatch({
	name: "counting",
	base: "series-v2",
	ops: [{ name: "count_store", symbol: "counting_vcpu_run", cycles: 12, source: "a store that hits the L1 cache" }],
	flows: [
		{
			name: "counting_vcpu_run",
			file: "counting/main.c",
			body: [
				{ call: "vmx_vcpu_run", keep: "exit_fastpath" },
				{ step: "count exit", run: count, does: ["count_store"], instructions: 5 },
				{ return: "vmx_vcpu_run()", value: "exit_fastpath" },
			],
		},
	],
	vendors: [{ name: "counting-vmx", title: "VMX with a counter", basedOn: "vmx", ops: { vcpu_run: "counting_vcpu_run" } }],
});
