/* Numbers, set-up and checks for all guests. */
#include "guest.h"

static void put_char(char c)
{
	put_byte((u8)c);
}

void put_string(const char *text)
{
	while (*text)
		put_char(*text++);
}

void put_number(u64 value)
{
	char digits[20];
	int at = 0;
	do {
		digits[at++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (at)
		put_char(digits[--at]);
}

void report(const struct params *params, const char *name, u64 cycles)
{
	u64 iterations = params->iterations;
	if (params->flags & FLAG_QUIET)
		return;
	put_string(name);
	put_char(' ');
	put_number(iterations ? cycles / iterations : 0);
	put_char('\n');
}

void enable_features(const struct params *params)
{
	u64 cr4;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	if (params->flags & FLAG_OSXSAVE)
		cr4 |= CR4_OSXSAVE;
	if (params->flags & FLAG_PKE)
		cr4 |= CR4_PKE;
	if (params->flags & (FLAG_OSXSAVE | FLAG_PKE))
		__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
	if ((params->flags & FLAG_OSXSAVE) && params->xcr0)
		__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)params->xcr0), "d"((u32)(params->xcr0 >> 32)));
	if (params->xss)
		wrmsr(MSR_XSS, params->xss);
	if (params->flags & FLAG_PKE)
		__asm__ volatile("wrpkru" : : "a"((u32)params->pkru), "c"(0), "d"(0));
}

/* Whether the processor still holds what this guest set. 0, or an exit code. */
int check_state(const struct params *params)
{
	if ((params->flags & FLAG_OSXSAVE) && params->xcr0) {
		u64 xcr0 = xgetbv();
		if (xcr0 != params->xcr0) {
			put_string("xcr0 is ");
			put_number(xcr0);
			put_string(", want ");
			put_number(params->xcr0);
			put_char('\n');
			return EXIT_XCR0_MISMATCH;
		}
	}
	if (params->flags & FLAG_PKE) {
		u32 pkru = rdpkru();
		if (pkru != (u32)params->pkru) {
			put_string("pkru is ");
			put_number(pkru);
			put_string(", want ");
			put_number((u32)params->pkru);
			put_char('\n');
			return EXIT_PKRU_MISMATCH;
		}
	}
	return EXIT_OK;
}
