/*
 * Runs instructions on the processor that this runs on, from states made of a seed, and writes what they did.
 *
 *     native RECORDS SEED CASES > RESULTS        (formats: test/silicon/vectors/format.ts)
 *
 * Linked at a high address without PIE, so that code and data may lie where the software machine has them.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum { CODE = 0x100000, WINDOW = 0x200000, WINDOW_BYTES = 0x10000, REGION = 256 };
enum { X_WORDS = 82, FLAGS = 0xcd5 };
enum { HAS_GPR = 1 << 16, HAS_FLAGS = 1 << 16, HAS_MEMORY = 1 << 17, HAS_X = 1 << 18, HAS_FAULT = 1 << 19 };
enum { CLASS_X87 = 1, CLASS_VECTOR = 2, CLASS_X = 3, CLASS_MODE = 12, CLASS_EXACT_FAULTS = 16 };
/* Segments of the modes, by the class: 64-bit; 32-bit, flat; 16-bit; 32-bit with bases and limits. */
enum { MODE_64, MODE_FLAT, MODE_16, MODE_BASED };
enum { USER_CS = 0x33, USER_DS = 0x2b };
static const struct { u16 cs, ss, ds, es; } segments[4] = {
	{ USER_CS, USER_DS, 0, 0 }, { 0x23, USER_DS, USER_DS, USER_DS }, { 0x07, 0x0f, 0x0f, 0x0f }, { 0x17, 0x2f, 0x1f, 0x27 },
};

struct pin { u8 reg; u64 and, add; };
struct record {
	u8 length, bytes[96], class, pins, vsib, lane;
	u32 region;
	struct pin pin[6];
};

/* What the stubs load and store. Absolute addresses: see the linker's -Ttext-segment. */
struct state { u64 gpr[16], flags, stack; } in, out;
u8 xin[4096] __attribute__((aligned(64))), xout[4096] __attribute__((aligned(64)));
u64 exit_pointer, use_x, entry_pointer = CODE;
/* Of a mode that is not 64-bit: SS, DS, ES, and where its code begins. */
u16 to_ss, to_ds, to_es;
struct { u32 offset; u16 selector; } __attribute__((packed)) to_code;

__asm__(
	".text\n.globl enter\nenter:\n"
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, in+136\n"
	"cmpq $0, use_x\nje 1f\n"
	"mov $7, %eax\nxor %edx, %edx\nxrstor64 xin\n"
	"1: pushq in+128\npopfq\n"
	"mov in+0, %rax\nmov in+8, %rcx\nmov in+16, %rdx\nmov in+24, %rbx\nmov in+40, %rbp\nmov in+48, %rsi\nmov in+56, %rdi\n"
	"mov in+64, %r8\nmov in+72, %r9\nmov in+80, %r10\nmov in+88, %r11\nmov in+96, %r12\nmov in+104, %r13\nmov in+112, %r14\nmov in+120, %r15\n"
	"mov in+32, %rsp\njmp *entry_pointer\n"
	".globl enter_segments\nenter_segments:\n"
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, in+136\nmov to_ds, %ds\nmov to_es, %es\npushq in+128\npopfq\n"
	"mov in+0, %rax\nmov in+8, %rcx\nmov in+16, %rdx\nmov in+24, %rbx\nmov in+40, %rbp\nmov in+48, %rsi\nmov in+56, %rdi\n"
	"mov to_ss, %ss\nmov in+32, %rsp\nljmpl *to_code\n"
	".globl leave\nleave:\n"
	"mov %rax, out+0\nmov %rcx, out+8\nmov %rdx, out+16\nmov %rbx, out+24\nmov %rsp, out+32\nmov %rbp, out+40\nmov %rsi, out+48\nmov %rdi, out+56\n"
	"mov %r8, out+64\nmov %r9, out+72\nmov %r10, out+80\nmov %r11, out+88\nmov %r12, out+96\nmov %r13, out+104\nmov %r14, out+112\nmov %r15, out+120\n"
	"mov in+136, %rsp\nmov $0x2b, %ecx\nmov %ecx, %ss\npushfq\npopq out+128\ncld\n"
	"cmpq $0, use_x\nje 2f\n"
	"mov $7, %eax\nxor %edx, %edx\nxsave64 xout\nfninit\n"
	"2: pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");
extern void enter(void), enter_segments(void);
extern u8 leave[];

static struct { int vector; u64 error, cr2, rip; } fault;
/* The offset of CODE in CS. */
static u64 code_base;

static void on_signal(int number, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	(void)number, (void)info;
	fault.vector = r[REG_TRAPNO];
	fault.error = r[REG_ERR];
	fault.cr2 = r[REG_CR2];
	fault.rip = r[REG_RIP];
	fault.rip -= code_base;
	if (fault.rip >= 4096) {
		fprintf(stderr, "signal %d outside of the case, at %llx\n", number, r[REG_RIP]);
		_exit(3);
	}
	r[REG_RIP] = (u64)leave;
	r[REG_CSGSFS] = (r[REG_CSGSFS] & 0xffffffff0000) | USER_CS | (u64)USER_DS << 48;
}

/* ---- the state of a case: test/silicon/vectors/state.ts has the same ---------------------------------- */

static u32 seed_state;
static u32 next(void)
{
	u32 t = seed_state += 0x6d2b79f5;
	t = (t ^ (t >> 15)) * (t | 1);
	t ^= t + (t ^ (t >> 7)) * (t | 61);
	return t ^ (t >> 14);
}
static u64 next64(void) { u64 high = next(); return high << 32 | next(); }

static u64 edge(u32 choice)
{
	static const u8 shifts[16] = { 0, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 64, 24, 23, 52, 62 };
	u32 shift = shifts[choice & 15];
	u64 power = shift == 64 ? 0 : 1ull << shift;
	return power + ((choice >> 4) % 5) - 2;
}
static u64 value(void)
{
	u32 how = next();
	return how & 1 ? next64() : edge(how >> 8);
}
static u32 single(void)
{
	u32 how = next(), bits = next();
	switch (how & 15) {
	case 0: return bits & 0x80000000;
	case 1: return bits & 0x807fffff;
	case 2: return (bits & 0x80000000) | 0x7f800000;
	case 3: return bits | 0x7f800000;
	case 4: return (bits & 0x80000fff) | (1 + (how >> 8) % 30) << 23;
	case 5: return (bits & 0x807fffff) | (225 + (how >> 8) % 30) << 23;
	case 6: return (bits & 0x80000000) | (120 + (how >> 8) % 16) << 23;
	case 7: return bits;
	default: return (bits & 0x807fffff) | (110 + (how >> 8) % 56) << 23;
	}
}
static u64 dbl(void)
{
	u32 how = next();
	u64 bits = next64();
	switch (how & 15) {
	case 0: return bits & 0x8000000000000000;
	case 1: return bits & 0x800fffffffffffff;
	case 2: return (bits & 0x8000000000000000) | 0x7ff0000000000000;
	case 3: return bits | 0x7ff0000000000000;
	case 4: return (bits & 0x8000000000ffffff) | (u64)(1 + (how >> 8) % 60) << 52;
	case 5: return (bits & 0x800fffffffffffff) | (u64)(1986 + (how >> 8) % 60) << 52;
	case 6: return (bits & 0x8000000000000000) | (u64)(1016 + (how >> 8) % 16) << 52;
	case 7: return bits;
	default: return (bits & 0x800fffffffffffff) | (u64)(990 + (how >> 8) % 100) << 52;
	}
}
static u64 lane(u32 kind)
{
	u64 high;
	switch (kind) {
	case 0: high = single(); return high << 32 | single();
	case 1: return dbl();
	default: return value();
	}
}
/* A register of the x87 stack: significand, then sign and exponent. */
static void extended(u64 *words)
{
	u32 how = next();
	u64 bits = next64();
	u32 sign = how & 0x8000;
	switch (how & 15) {
	case 0: words[0] = 0, words[1] = sign; return;
	case 1: words[0] = 1ull << 63, words[1] = sign | 0x7fff; return;
	case 2: words[0] = bits | 1ull << 63, words[1] = sign | 0x7fff; return;
	case 3: words[0] = bits, words[1] = sign; return;
	case 4: words[0] = bits, words[1] = sign | (how >> 16 & 0x7fff); return;
	case 5: words[0] = bits | 1ull << 63, words[1] = sign | (how >> 16 & 31); return;
	case 6: words[0] = bits | 1ull << 63, words[1] = sign | (0x7ffe - (how >> 16 & 31)); return;
	case 7: words[0] = 1ull << 63, words[1] = sign | (16376 + (how >> 16) % 16); return;
	case 8: words[0] = (bits | 1ull << 63) >> 40 << 40, words[1] = sign | (16376 + (how >> 16) % 48); return;
	case 9: words[0] = bits | 1ull << 63, words[1] = sign | (16256 + (how >> 16) % 254); return;
	case 10: words[0] = (bits | 1ull << 63) >> 11 << 11, words[1] = sign | (15360 + (how >> 16) % 2047); return;
	default: words[0] = bits | 1ull << 63, words[1] = sign | (16368 + (how >> 16) % 48); return;
	}
}

/* Word 0: FCW, FSW, abridged FTW; 1: MXCSR; 2…17: R0…R7; 18…81: YMM0…YMM15. */
static u64 x[X_WORDS];

static void make_x(const struct record *r)
{
	u32 a = next(), b = next(), i;
	u32 fcw = 0x7f | (a & 0xf00), fsw = a >> 16 & 0x7f00, tags = b & 0xff, mxcsr = 0x1f80 | (b >> 8 & 0x6000);
	if ((a & 7) == 0) fcw &= ~(a >> 4 & 0x3f) | 0x40;
	if (b >> 16 & 3) tags |= 0xff >> (b >> 18 & 3);
	if ((b >> 20 & 7) == 0) mxcsr |= b >> 8 & 0x8040;
	if ((b >> 23 & 15) == 0) mxcsr &= ~(b & 0x1f80);
	if (!(r->class & CLASS_X87)) fcw = 0x37f, fsw = 0, tags = 0;
	if (!(r->class & CLASS_VECTOR)) mxcsr = 0x1f80;
	x[0] = fcw | (u64)fsw << 16 | (u64)tags << 32;
	x[1] = mxcsr;
	memset(x + 2, 0, sizeof x - 16);
	if (r->class & CLASS_X87)
		for (i = 0; i < 8; i++) extended(x + 2 + 2 * i);
	if (r->class & CLASS_VECTOR) {
		u32 kinds = next();
		for (i = 0; i < 64; i++) x[18 + i] = lane((kinds >> (i / 4 % 16) * 2) & 3);
		for (i = 0; r->vsib < 16 && i < 4; i++)
			x[18 + 4 * r->vsib + i] &= r->lane == 4 ? 0x0000001f0000001full : 0x1f;
	}
}

/* ---- between the flat words and XSAVE's image --------------------------------------------------------- */

static void to_image(void)
{
	u32 i, top = x[0] >> 27 & 7;
	memset(xin, 0, 1088);
	*(u16 *)(xin + 0) = x[0], *(u16 *)(xin + 2) = x[0] >> 16, xin[4] = x[0] >> 32;
	*(u32 *)(xin + 24) = x[1];
	for (i = 0; i < 8; i++) memcpy(xin + 32 + 16 * i, x + 2 + 2 * ((top + i) & 7), 10);
	for (i = 0; i < 16; i++) memcpy(xin + 160 + 16 * i, x + 18 + 4 * i, 16), memcpy(xin + 576 + 16 * i, x + 20 + 4 * i, 16);
	*(u64 *)(xin + 512) = 7;
}
static void from_image(u64 *to)
{
	u32 i, top = xout[3] >> 3 & 7;
	memset(to, 0, X_WORDS * 8);
	to[0] = *(u16 *)xout | (u64) * (u16 *)(xout + 2) << 16 | (u64)xout[4] << 32;
	to[1] = *(u32 *)(xout + 24);
	for (i = 0; i < 8; i++) memcpy(to + 2 + 2 * ((top + i) & 7), xout + 32 + 16 * i, 10);
	for (i = 0; i < 16; i++) memcpy(to + 18 + 4 * i, xout + 160 + 16 * i, 16), memcpy(to + 20 + 4 * i, xout + 576 + 16 * i, 16);
}

/* ---- one case ------------------------------------------------------------------------------------------ */

static void put(const void *bytes, u32 count) { fwrite_unlocked(bytes, 1, count, stdout); }

static void put_changes(const u64 *before, const u64 *after, u32 words)
{
	u8 count = 0;
	u32 i;
	for (i = 0; i < words; i++) count += before[i] != after[i];
	put(&count, 1);
	for (i = 0; i < words; i++) {
		u8 at = i;
		if (before[i] != after[i]) put(&at, 1), put(after + i, 8);
	}
}

static void run(const struct record *r, u32 seed)
{
	u64 memory[REGION / 8], *region = (u64 *)(u64)r->region, after[X_WORDS];
	u32 i, mask = 0, mode = (r->class & CLASS_MODE) >> 2;
	seed_state = seed;
	for (i = 0; i < 16; i++) in.gpr[i] = value();
	in.flags = (next() & FLAGS) | 0x202;
	for (i = 0; i < r->pins; i++) in.gpr[r->pin[i].reg] = (in.gpr[r->pin[i].reg] & r->pin[i].and) + r->pin[i].add;
	for (i = 0; mode != MODE_64 && i < 16; i++) in.gpr[i] = i < 8 ? (u32)in.gpr[i] : 0;
	for (i = 0; i < REGION / 8; i++) memory[i] = lane(next() & 3);
	memcpy(region, memory, REGION);
	use_x = (r->class & CLASS_X) != 0;
	if (use_x) make_x(r), to_image();
	fault.vector = -1;
	if (mode == MODE_64) enter(); else enter_segments();
	for (i = 8; mode != MODE_64 && i < 16; i++) out.gpr[i] = 0;
	for (i = 0; mode != MODE_64 && i < 8; i++) out.gpr[i] = (u32)out.gpr[i];
	for (i = 0; i < 16; i++) mask |= (out.gpr[i] != in.gpr[i]) << i;
	if ((out.flags ^ in.flags) & FLAGS) mask |= HAS_FLAGS;
	if (memcmp(region, memory, REGION)) mask |= HAS_MEMORY;
	if (use_x) {
		from_image(after);
		if (memcmp(after, x, sizeof x)) mask |= HAS_X;
	}
	if (fault.vector >= 0) mask |= HAS_FAULT;
	put(&mask, 4);
	if (mask & HAS_FAULT) {
		u8 vector = fault.vector, at = fault.rip;
		put(&vector, 1), put(&at, 1);
		if (r->class & CLASS_EXACT_FAULTS) put(&fault.error, 2), put(&fault.cr2, vector == 14 ? 8 : 0);
		else if (vector == 14) put(&fault.error, 1), put(&fault.cr2, 8);
	}
	for (i = 0; i < 16; i++)
		if (mask >> i & 1) put(out.gpr + i, 8);
	if (mask & HAS_FLAGS) { u16 flags = out.flags & FLAGS; put(&flags, 2); }
	if (mask & HAS_MEMORY) put_changes(memory, region, REGION / 8);
	if (mask & HAS_X) put_changes(x, after, X_WORDS);
}

/* Segments of 64 KiB and less over code and window. */
static int set_ldt(u32 entry, u32 base, u32 limit, u32 contents, u32 is_32bit)
{
	struct user_desc desc = { .entry_number = entry, .base_addr = base, .limit = limit, .contents = contents, .seg_32bit = is_32bit };
	return syscall(SYS_modify_ldt, 1, &desc, sizeof desc);
}
static int make_segments(void)
{
	return set_ldt(0, CODE, 0xfff, 2, 0) | set_ldt(1, WINDOW, 0xffff, 0, 0) | set_ldt(2, CODE, 0xfff, 2, 1) |
		set_ldt(3, WINDOW, 0x80ff, 0, 1) | set_ldt(4, WINDOW, 0x7fff, 1, 1) | set_ldt(5, WINDOW, 0xffff, 0, 1);
}

static u8 byte(FILE *f) { return getc(f); }
static u64 number(FILE *f, u32 bytes)
{
	u64 value = 0;
	for (u32 i = 0; i < bytes; i++) value |= (u64)byte(f) << 8 * i;
	return value;
}

int main(int count, char **arguments)
{
	FILE *records = count == 4 ? fopen(arguments[1], "rb") : NULL;
	if (!records) { fputs("native RECORDS SEED CASES > RESULTS\n", stderr); return 2; }
	u32 seed = strtoul(arguments[2], 0, 0), cases = strtoul(arguments[3], 0, 0), i, n;
	static u8 stack[65536];
	stack_t alternative = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	sigaltstack(&alternative, 0);
	for (i = 0; i < 5; i++) sigaction(signals[i], &action, 0);
	u8 *code = mmap((void *)CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	u8 *window = mmap((void *)WINDOW, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (code != (u8 *)CODE || window != (u8 *)WINDOW) { perror("mmap"); return 1; }
	if (make_segments()) { perror("modify_ldt"); return 1; }
	exit_pointer = (u64)leave;
	for (n = 0; ; n++) {
		struct record r = { .length = 0 };
		int length = getc(records);
		if (length == EOF) break;
		r.length = length;
		for (i = 0; i < r.length; i++) r.bytes[i] = byte(records);
		r.class = byte(records), r.vsib = byte(records), r.lane = byte(records), r.region = number(records, 4);
		r.pins = byte(records);
		for (i = 0; i < r.pins; i++) r.pin[i].reg = byte(records), r.pin[i].and = number(records, 8), r.pin[i].add = number(records, 8);
		for (i = 0; i < WINDOW_BYTES; i++) window[i] = i * 167 + (i >> 8) * 59;
		memset(code, 0xcc, 128);
		memcpy(code, r.bytes, r.length);
		u8 *end = code + r.length;
		u32 mode = (r.class & CLASS_MODE) >> 2;
		if (mode == MODE_64) {
			/* jmp *[exit_pointer] */
			end[0] = 0xff, end[1] = 0x24, end[2] = 0x25, *(u32 *)(end + 3) = (u32)(u64)&exit_pointer;
		} else {
			/* ljmpl $USER_CS, $leave */
			if (mode == MODE_16) *end++ = 0x66;
			end[0] = 0xea, *(u32 *)(end + 1) = (u32)(u64)leave, *(u16 *)(end + 5) = USER_CS;
		}
		code_base = mode <= MODE_FLAT ? CODE : 0;
		to_ss = segments[mode].ss, to_ds = segments[mode].ds, to_es = segments[mode].es;
		to_code.offset = code_base, to_code.selector = segments[mode].cs;
		for (i = 0; i < cases; i++) run(&r, seed ^ (n * 0x9e3779b1u + i * 0x85ebca77u));
	}
	fflush(stdout);
	return 0;
}
