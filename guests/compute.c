/* No exits: the sieve of Eratosthenes, once an iteration. Checks the number of primes. */
#include "guest.h"

#define LIMIT 65536
#define PRIMES_BELOW_LIMIT 6542

static u8 composite[LIMIT];

static u32 sieve(void)
{
	u32 primes = 0;
	for (u32 i = 0; i < LIMIT; i++)
		composite[i] = 0;
	for (u32 i = 2; i < LIMIT; i++) {
		if (composite[i])
			continue;
		primes++;
		for (u64 j = (u64)i * i; j < LIMIT; j += i)
			composite[j] = 1;
	}
	return primes;
}

int guest_main(const struct params *params)
{
	int code = EXIT_OK;
	enable_features(params);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++)
		if (sieve() != PRIMES_BELOW_LIMIT)
			code = EXIT_WRONG_RESULT;
	report(params, "compute", rdtsc() - start);
	return code;
}
