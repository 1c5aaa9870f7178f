/* One CPUID of leaf 0 an iteration. */
#define NAME "cpuid"
#define BODY cpuid(0)
#include "loop.h"
