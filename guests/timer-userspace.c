/*
 * A timer at the rate of a kernel's tick, and work for user space at each: arm it, write to a port, ring a device's doorbell,
 * halt until the interrupt.
 */
#include "guest.h"

/* Some millisecond: HZ=1000. */
#define DEADLINE_CYCLES 2000000
/* Of a virtio device: KVM may have an ioeventfd for it. */
#define PORT_DOORBELL 0xc050

int guest_main(const struct params *params)
{
	enable_features(params);
	set_ibrs();
	setup_idt();
	setup_x2apic_timer(LVTT_TSC_DEADLINE | TIMER_VECTOR);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		u32 before = interrupts;
		wrmsr(MSR_TSC_DEADLINE, rdtsc() + DEADLINE_CYCLES);
		outb(PORT_UNCLAIMED, (u8)i);
		outb(PORT_DOORBELL, (u8)i);
		while (interrupts == before)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
	report(params, "timer-userspace", rdtsc() - start);
	return interrupts == params->iterations ? EXIT_OK : EXIT_WRONG_RESULT;
}
