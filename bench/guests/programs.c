/*
 * The benchmark programs. One is chosen by -DPROGRAM=name; it prints S before it starts, E when it has ended, and its
 * result, which is the same wherever it runs.
 */
typedef unsigned char u8;
typedef unsigned int u32;

static inline void out8(unsigned short port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void put(char c)
{
	out8(0x3f8, (u8)c);
}

static void put_hex(u32 value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		put("0123456789abcdef"[(value >> shift) & 15]);
}

/* xorshift32: what the programs take for data. */
static u32 state = 2463534242u;
static u32 next_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

void *memset(void *to, int value, __SIZE_TYPE__ count)
{
	u8 *bytes = to;
	while (count-- > 0)
		*bytes++ = (u8)value;
	return to;
}

#define WORDS (1 << 20)
static u32 words[4 * WORDS];

/* Primes below 2^20, by Eratosthenes. */
static u32 sieve(void)
{
	static u8 composite[1 << 20];
	u32 count = 0;
	for (int round = 0; round < 40; round++) {
		memset(composite, 0, sizeof composite);
		count = 0;
		for (u32 n = 2; n < sizeof composite; n++) {
			if (composite[n])
				continue;
			count++;
			for (u32 multiple = 2 * n; multiple < sizeof composite; multiple += n)
				composite[multiple] = 1;
		}
	}
	return count;
}

/* CRC-32 of 1 MiB, a byte at a time by a table. */
static u32 crc32(void)
{
	static u32 table[256];
	u32 crc = 0;
	for (u32 n = 0; n < 256; n++) {
		u32 value = n;
		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? 0xedb88320u ^ (value >> 1) : value >> 1;
		table[n] = value;
	}
	for (u32 at = 0; at < WORDS / 4; at++)
		words[at] = next_random();
	for (int round = 0; round < 100; round++) {
		const u8 *bytes = (const u8 *)words;
		crc = ~crc;
		for (u32 at = 0; at < WORDS; at++)
			crc = table[(crc ^ bytes[at]) & 255] ^ (crc >> 8);
		crc = ~crc;
	}
	return crc;
}

#define N 192
/* Product of two matrices of 32-bit integers. */
static u32 matrix(void)
{
	static u32 a[N][N], b[N][N], c[N][N];
	u32 sum = 0;
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			a[i][j] = next_random();
			b[i][j] = next_random();
		}
	for (int round = 0; round < 16; round++) {
		for (int i = 0; i < N; i++)
			for (int j = 0; j < N; j++) {
				u32 dot = 0;
				for (int k = 0; k < N; k++)
					dot += a[i][k] * b[k][j];
				c[i][j] = dot;
			}
		a[round][round] += c[round][N - 1];
		sum += c[round][round];
	}
	return sum;
}

/* A list of 64 Ki nodes in random order. */
static u32 list(void)
{
	struct node { struct node *next; u32 value; };
	static struct node nodes[1 << 16];
	static u32 order[1 << 16];
	u32 count = 1 << 16, sum = 0;
	for (u32 n = 0; n < count; n++)
		order[n] = n;
	for (u32 n = count - 1; n > 0; n--) {
		u32 other = next_random() & (count - 1);
		u32 swap = order[n];
		order[n] = order[other];
		order[other] = swap;
	}
	for (u32 n = 0; n < count; n++) {
		nodes[order[n]].next = n + 1 < count ? &nodes[order[n + 1]] : 0;
		nodes[order[n]].value = n;
	}
	for (int round = 0; round < 400; round++)
		for (struct node *node = &nodes[order[0]]; node; node = node->next)
			sum += node->value ^ (u32)round;
	return sum;
}

static void swap_words(u32 *a, u32 *b)
{
	u32 value = *a;
	*a = *b;
	*b = value;
}

static void sort(u32 *first, u32 *last)
{
	while (last - first > 1) {
		u32 pivot = first[(last - first - 1) / 2];
		u32 *left = first, *right = last - 1;
		for (;;) {
			while (*left < pivot)
				left++;
			while (*right > pivot)
				right--;
			if (left >= right)
				break;
			swap_words(left++, right--);
		}
		sort(first, right + 1);
		first = right + 1;
	}
}

/* Quicksort of 256 Ki words. */
static u32 qsort(void)
{
	u32 sum = 0;
	for (int round = 0; round < 6; round++) {
		for (u32 n = 0; n < WORDS / 4; n++)
			words[n] = next_random();
		sort(words, words + WORDS / 4);
		sum ^= words[round * 1000];
	}
	return sum;
}

/* Memory-bound: sums over 16 MiB at a stride of a page and more. */
static u32 memory(void)
{
	u32 sum = 0;
	for (u32 n = 0; n < 4 * WORDS; n++)
		words[n] = n;
	for (int round = 0; round < 3; round++)
		for (u32 stride = 0; stride < 1040; stride++)
			for (u32 n = stride; n < 4 * WORDS; n += 1040)
				sum += words[n]++;
	return sum;
}

/* Branches on random bits, through a switch. */
static u32 branchy(void)
{
	u32 sum = 0;
	for (u32 n = 0; n < 12000000; n++) {
		u32 bits = next_random();
		switch (bits & 7) {
		case 0: sum += bits >> 3; break;
		case 1: sum ^= bits; break;
		case 2: sum -= n; break;
		case 3: if (bits & 0x100) sum += 7; else sum -= 3; break;
		case 4: sum = (sum << 1) | (sum >> 31); break;
		case 5: if (sum & 1) sum += bits & 0xff; break;
		case 6: sum = ~sum; break;
		default: if (bits & 0x8000) sum *= 5; break;
		}
	}
	return sum;
}

void main(void)
{
	put('S');
	u32 result = PROGRAM();
	put('E');
	put_hex(result);
	put('\n');
}
