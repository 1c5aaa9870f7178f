/* One WRMSR of IA32_TSC_DEADLINE an iteration, far in the future: KVM handles it in the fastpath. */
#define NAME "wrmsr-tscdeadline"
#define SETUP setup_x2apic_timer(LVTT_TSC_DEADLINE | LVT_MASKED)
#define BODY wrmsr(MSR_TSC_DEADLINE, rdtsc() + (1ul << 40))
#include "loop.h"
