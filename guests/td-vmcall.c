/* A TD that makes a hypercall to KVM an iteration. */
#include "td.h"

int guest_main(const struct params *params)
{
	enable_features(params);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		td_hypercall(1); /* KVM_HC_VAPIC_POLL_IRQ */
	}
	report(params, "td-vmcall", rdtsc() - start);
	return EXIT_OK;
}
