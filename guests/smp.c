/* Starting the other processors, and interrupts between them. */
#include "smp.h"

#define TRAMPOLINE 0x7000ul
#define ICR_ALL_BUT_SELF 0xc0000u
#define ICR_ASSERT 0x4000u
#define ICR_INIT 0x500u
#define ICR_STARTUP 0x600u

extern char ap_trampoline[], ap_trampoline_end[];
static volatile u32 ready;
static const struct params *shared;

void send_ipi(u32 cpu, u8 vector)
{
	wrmsr(MSR_X2APIC_ICR, (u64)cpu << 32 | vector);
}

void ap_ready(void)
{
	setup_idt();
	setup_x2apic_timer(LVT_MASKED);
	enable_features(shared);
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
}

void start_processors(const struct params *params)
{
	u32 others = cpu_count(params) - 1;
	shared = params;
	if (!others)
		return;
	for (u64 at = 0; at < (u64)(ap_trampoline_end - ap_trampoline); at++)
		((volatile char *)TRAMPOLINE)[at] = ap_trampoline[at];
	wrmsr(MSR_X2APIC_ICR, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_INIT);
	wrmsr(MSR_X2APIC_ICR, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_STARTUP | TRAMPOLINE >> 12);
	while (ready < others)
		relax();
}
