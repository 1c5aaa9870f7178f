/* One read of the local APIC's version register an iteration: handled in the kernel. */
#define NAME "mmio-kernel"
#define BODY (void)*(volatile u32 *)0xfee00030
#include "loop.h"
