/* A guest that repeats one instruction: define NAME and BODY, and SETUP if there is something to set up. */
#include "guest.h"
#ifndef SETUP
#define SETUP
#endif

int guest_main(const struct params *params)
{
	u64 iterations = params->iterations;
	enable_features(params);
	SETUP;
	u64 start = rdtsc();
	for (u64 i = 0; i < iterations; i++) {
		BODY;
	}
	report(params, NAME, rdtsc() - start);
	return EXIT_OK;
}
