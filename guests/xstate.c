/* Reads XCR0 by XGETBV and PKRU by RDPKRU behind each exit, fastpath and slow, and compares with what it set. */
#include "guest.h"

int guest_main(const struct params *params)
{
	enable_features(params);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		int code;
		invd();
		if ((code = check_state(params)))
			return code;
		cpuid(0);
		if ((code = check_state(params)))
			return code;
		outb(PORT_UNCLAIMED, 0);
		if ((code = check_state(params)))
			return code;
	}
	report(params, "xstate", rdtsc() - start);
	return EXIT_OK;
}
