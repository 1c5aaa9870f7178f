/* A TD that runs what the check has put into its last two pages: src/check/guest/script.ts. */
#include "td.h"

#define SCRIPT 0xffffe000ul

int guest_main(const struct params *params)
{
	enable_features(params);
	((void (*)(void))SCRIPT)();
	return EXIT_OK;
}
