/* Nothing an iteration: what the loop itself costs. */
#define NAME "empty"
#define BODY __asm__ volatile("" : : : "memory")
#include "loop.h"
