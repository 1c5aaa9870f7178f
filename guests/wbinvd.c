/* One WBINVD an iteration. */
#define NAME "wbinvd"
#define BODY __asm__ volatile("wbinvd" : : : "memory")
#include "loop.h"
