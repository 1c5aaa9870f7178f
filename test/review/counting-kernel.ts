/** A multiboot kernel that prints letters for ever, with port I/O, CPUID and memory in between. */
export function kernelThatCounts(): Uint8Array {
	const base = 0x10_0000;
	// biome-ignore format: machine code with its assembly
	const code = [
		0xbf, 0x00, 0x00, 0x20, 0x00,       //    mov edi, 0x200000
		0x31, 0xdb,                         //    xor ebx, ebx
		0x31, 0xc0,                         // 1: xor eax, eax
		0x31, 0xc9,                         //    xor ecx, ecx
		0x53,                               //    push ebx      (ESP is set below)
		0x0f, 0xa2,                         //    cpuid
		0x5b,                               //    pop ebx
		0x31, 0x07,                         //    xor [edi], eax
		0x83, 0xc7, 0x04,                   //    add edi, 4
		0xb9, 0x14, 0x00, 0x00, 0x00,       //    mov ecx, 20
		0x01, 0xcb,                         // 2: add ebx, ecx
		0xe2, 0xfc,                         //    loop 2b
		0x0f, 0x31,                         //    rdtsc
		0x01, 0xc3,                         //    add ebx, eax
		0x88, 0xd8,                         //    mov al, bl
		0x24, 0x0f,                         //    and al, 15
		0x04, 0x61,                         //    add al, 'a'
		0x66, 0xba, 0xf8, 0x03,             //    mov dx, 0x3f8
		0xee,                               //    out dx, al
		0xeb, 0xd5,                         //    jmp 1b
	];
	const stack = [0xbc, 0x00, 0x00, 0x30, 0x00]; // mov esp, 0x300000
	const bytes = new Uint8Array(64 + stack.length + code.length);
	const view = new DataView(bytes.buffer);
	// The multiboot header with load addresses.
	const flags = 0x1_0000;
	const words = [0x1bad_b002, flags, -(0x1bad_b002 + flags) >>> 0, base, base, 0, 0, base + 64];
	for (const [at, word] of words.entries()) view.setUint32(4 * at, word >>> 0, true);
	bytes.set([...stack, ...code], 64);
	return bytes;
}
