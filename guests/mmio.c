/* One read an iteration from an address that has no memory behind it: handled in user space. */
#define NAME "mmio"
#define BODY (void)*(volatile u32 *)0x3ff00000
#include "loop.h"
