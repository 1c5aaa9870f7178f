/* A TD for the check: exits to KVM and to user space; checks its XCR0 and PKRU behind them. */
#include "td.h"

int guest_main(const struct params *params)
{
	enable_features(params);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		int code;
		td_cpuid(0, 0);
		td_hypercall(1); /* KVM_HC_VAPIC_POLL_IRQ */
		if ((code = check_state(params)))
			return code;
		td_outb(PORT_UNCLAIMED, (u8)i);
		if ((code = check_state(params)))
			return code;
	}
	report(params, "td-mixed", rdtsc() - start);
	return EXIT_OK;
}
