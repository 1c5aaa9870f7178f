/* One RDMSR of the APIC base an iteration. */
#define NAME "rdmsr"
#define BODY rdmsr(MSR_APIC_BASE)
#include "loop.h"
