/* One MOV to and one MOV from CR8 an iteration. */
#define NAME "mov-cr8"
#define BODY                                                          \
	do {                                                          \
		u64 tpr = 0;                                          \
		__asm__ volatile("mov %0, %%cr8\n\tmov %%cr8, %0" : "+r"(tpr)); \
	} while (0)
#include "loop.h"
