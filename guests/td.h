/* TDG.VP.VMCALL (Guest-Hypervisor Communication Interface, 2.4 and 3). */
#pragma once
#include "guest.h"

/* Sub-functions in R11 of a standard call (R10 = 0). */
#define TDVMCALL_CPUID 10
#define TDVMCALL_IO 30

struct tdvmcall {
	u64 r10, r11, r12, r13, r14, r15;
};

void tdvmcall(struct tdvmcall *args);
void td_cpuid(u32 leaf, u32 subleaf);
void td_outb(u16 port, u8 value);
u64 td_hypercall(u64 number);
