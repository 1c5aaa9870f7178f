/*
 * Every processor writes to its own pages, again and again, while the host takes them away. Bits 63:32 of the flags are the
 * turns of a loop between two pages.
 */
#include "smp.h"

#define REGION_BASE (16ul << 20)
#define PAGES 64
#define PAGE 4096ul

static u32 work_turns;

static u64 touch(u32 cpu, u64 value)
{
	volatile u64 *region = (volatile u64 *)(REGION_BASE + cpu * PAGES * PAGE);
	u64 wrong = 0;
	for (u64 page = 0; page < PAGES; page++) {
		volatile u64 *word = region + page * PAGE / sizeof(u64);
		/* What the host takes away keeps its contents here, as memory that is swapped. */
		if (*word && *word != value - 1)
			wrong++;
		*word = value;
		for (volatile u32 i = 0; i < work_turns; i++)
			;
	}
	return wrong;
}

void ap_main(u32 cpu)
{
	set_ibrs();
	ap_ready();
	for (u64 value = 1;; value++)
		touch(cpu, value);
}

int guest_main(const struct params *params)
{
	u64 wrong = 0;
	enable_features(params);
	set_ibrs();
	setup_idt();
	setup_x2apic_timer(LVT_MASKED);
	work_turns = (u32)(params->flags >> 32);
	start_processors(params);
	u64 start = rdtsc();
	for (u64 i = 1; i <= params->iterations; i++)
		wrong += touch(0, i);
	report(params, "mmu-stress", rdtsc() - start);
	return wrong ? EXIT_WRONG_RESULT : EXIT_OK;
}
