/* What only a guest in a plain VM does: ports by IN and OUT, interrupts. */
#include "guest.h"

volatile u32 interrupts;

void put_byte(u8 byte)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, byte);
}

void guest_exit(int code)
{
	for (;;)
		outb(EXIT_PORT, (u8)code);
}

struct gate {
	u16 low, selector;
	u8 ist, type;
	u16 middle;
	u32 high, zero;
};
static struct gate idt[256];
extern char interrupt_entry[];

void set_gate(int vector, char *handler)
{
	u64 address = (u64)handler;
	u16 selector;
	__asm__("mov %%cs, %0" : "=r"(selector));
	idt[vector].low = (u16)address;
	idt[vector].selector = selector;
	idt[vector].type = 0x8e;
	idt[vector].middle = (u16)(address >> 16);
	idt[vector].high = (u32)(address >> 32);
}

void setup_idt(void)
{
	for (int vector = 32; vector < 256; vector++)
		set_gate(vector, interrupt_entry);
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) pointer = { sizeof idt - 1, (u64)idt };
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

void setup_x2apic_timer(u32 lvt)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1u << 10 | 1u << 11);
	wrmsr(MSR_X2APIC_SPIV, 0x1ff);
	wrmsr(MSR_X2APIC_LVTT, lvt);
}
