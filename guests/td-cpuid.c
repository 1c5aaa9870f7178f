/* A TD that asks its host for CPUID, by TDG.VP.VMCALL. */
#include "td.h"

int guest_main(const struct params *params)
{
	enable_features(params);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		td_cpuid(0, 0);
	}
	report(params, "td-cpuid", rdtsc() - start);
	return EXIT_OK;
}
