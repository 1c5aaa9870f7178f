/* One hypercall an iteration: VMCALL on Intel, VMMCALL on AMD. */
#include "guest.h"

int guest_main(const struct params *params)
{
	u32 a = 0, b, c = 0, d;
	enable_features(params);
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	int amd = b == 0x68747541; /* "Auth" */
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		u64 rax = 1; /* KVM_HC_VAPIC_POLL_IRQ */
		if (amd)
			__asm__ volatile("vmmcall" : "+a"(rax) : : "memory");
		else
			__asm__ volatile("vmcall" : "+a"(rax) : : "memory");
	}
	report(params, "vmcall", rdtsc() - start);
	return EXIT_OK;
}
