/* What the guest programs share: parameters, console, exit, and the instructions that C has no words for. */
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

/* In the order in which start.S stores them. */
struct params {
	u64 iterations;
	u64 flags;
	u64 xcr0;
	u64 pkru;
	u64 xss;
};

#define FLAG_OSXSAVE 1u /* set CR4.OSXSAVE, then XSETBV if xcr0 is not 0 */
#define FLAG_PKE 2u     /* set CR4.PKE, then WRPKRU */
#define FLAG_QUIET 4u   /* print nothing when all went well */
/* Read by state.c. */
#define FLAG_DEBUG_REGISTERS 8u /* use DR0, DR1, DR6 and DR7 */
#define FLAG_MSRS 16u           /* set SPEC_CTRL, DEBUGCTL, SYSCALL's registers, KERNEL_GS_BASE and TSC_AUX */
#define FLAG_XFD 32u            /* use AMX state, with XFD set and cleared; XCR0 must have it */
#define FLAG_XRSTOR_PKRU 64u    /* set PKRU by XRSTOR, for which CR4.PKE need not be set */

#define CR4_OSXSAVE (1ul << 18)
#define CR4_PKE (1ul << 22)
#define MSR_APIC_BASE 0x1b
#define MSR_SPEC_CTRL 0x48
#define SPEC_CTRL_IBRS 1u
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_XSS 0xda0
#define MSR_X2APIC_SPIV 0x80f
#define MSR_X2APIC_LVTT 0x832
#define MSR_X2APIC_ICR 0x830
#define LVTT_TSC_DEADLINE (2u << 17)
#define LVT_MASKED (1u << 16)

#define COM1 0x3f8
#define EXIT_PORT 0xf4
/* Nobody answers here. */
#define PORT_UNCLAIMED 0x1234
#define TIMER_VECTOR 0x40

/* Exit codes. */
#define EXIT_OK 0
#define EXIT_XCR0_MISMATCH 1
#define EXIT_PKRU_MISMATCH 2
#define EXIT_WRONG_RESULT 3
#define EXIT_STATE_MISMATCH 4

static inline u64 rdtsc(void)
{
	u32 low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}
static inline u64 rdmsr(u32 msr)
{
	u32 low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}
static inline void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
/* Indirect branches are restricted all the time, as Linux does it on a processor with enhanced IBRS: Intel's. */
static inline void set_ibrs(void)
{
	u32 a = 0, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (b == 0x756e6547)
		wrmsr(MSR_SPEC_CTRL, SPEC_CTRL_IBRS);
}
static inline u64 xgetbv(void)
{
	u32 low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (u64)high << 32 | low;
}
static inline u32 rdpkru(void)
{
	u32 value;
	__asm__ volatile("rdpkru" : "=a"(value) : "c"(0) : "rdx");
	return value;
}
static inline void cpuid(u32 leaf)
{
	u32 a = leaf, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}
static inline void outb(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline u8 inb(u16 port)
{
	u8 value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline void invd(void)
{
	__asm__ volatile("invd" : : : "memory");
}

extern volatile u32 interrupts;

/* vm.c or td.c */
void put_byte(u8 byte);
__attribute__((noreturn)) void guest_exit(int code);

/* vm.c */
void setup_idt(void);
void set_gate(int vector, char *handler);
void setup_x2apic_timer(u32 lvt);

/* lib.c */
void put_string(const char *text);
void put_number(u64 value);
void report(const struct params *params, const char *name, u64 cycles);
void enable_features(const struct params *params);
int check_state(const struct params *params);

int guest_main(const struct params *params);
