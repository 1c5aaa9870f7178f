/* Guests with several processors. */
#pragma once
#include "guest.h"

/* Bits 31:16 of the flags: the processors that there are. */
static inline u32 cpu_count(const struct params *params)
{
	u32 count = (u32)(params->flags >> 16) & 0xffff;
	return count ? count : 1;
}

/* Starts the other processors, each in ap_main(), and waits until all have called ap_ready(). */
void start_processors(const struct params *params);
/* A processor other than the first is set up; its number is what ap_main() was given, its APIC ID. */
void ap_ready(void);
void ap_main(u32 cpu);
void send_ipi(u32 cpu, u8 vector);

static inline void relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}
