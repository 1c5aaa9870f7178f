/* Exits of all kinds for the check: fastpath (INVD, WRMSR), in the kernel (CPUID), to user space (OUT). */
#include "state.h"

int guest_main(const struct params *params)
{
	enable_features(params);
	setup_state(params);
	setup_x2apic_timer(LVTT_TSC_DEADLINE | LVT_MASKED);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		int code;
		invd();
		invd();
		wrmsr(MSR_TSC_DEADLINE, rdtsc() + (1ul << 40));
		if ((code = check_state(params)))
			return code;
		if ((code = use_state(params, i)))
			return code;
		cpuid(0);
		outb(PORT_UNCLAIMED, (u8)i);
		if ((code = check_state(params)))
			return code;
		if ((code = check_registers(params)))
			return code;
	}
	report(params, "mixed", rdtsc() - start);
	return EXIT_OK;
}
