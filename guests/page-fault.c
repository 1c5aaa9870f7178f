/* One byte written to a new page an iteration: with nothing behind the page yet, a second-level fault each. */
#include "guest.h"
#define FIRST_PAGE 0x400000ul

int guest_main(const struct params *params)
{
	enable_features(params);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++)
		*(volatile u8 *)(FIRST_PAGE + (i << 12)) = 1;
	report(params, "page-fault", rdtsc() - start);
	return EXIT_OK;
}
