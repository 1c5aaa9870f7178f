/**
 * What a PC's firmware has left when it starts a multiboot kernel, as far as code in real mode can tell (IBM PC AT Technical
 * Reference, BIOS; SeaBIOS does the same): the interrupt controllers' vectors and masks, the timer of 18.2 Hz, and an interrupt
 * vector table whose handlers acknowledge and return.
 */
import type { Segment } from "../../guests/image.ts";
import { writeGuestPhysical } from "../emulate/guest-memory.ts";
import { kernelPioWrite } from "../irqchip/irqchip.ts";
import type { Vm } from "../vm.ts";

// biome-ignore format: one row a controller
const PORT_WRITES: readonly (readonly [port: number, value: number])[] = [
	// ICW1 to ICW4: edge triggered, vectors 08H and 70H, the slave at line 2, 8086 mode. Lines 0, 1, 2 and 6 are open, and all of
	// the slave's but 13's: that is the coprocessor's.
	[0x20, 0x11], [0x21, 0x08], [0x21, 1 << 2], [0x21, 1], [0x21, 0xb8],
	[0xa0, 0x11], [0xa1, 0x70], [0xa1, 2],      [0xa1, 1], [0xa1, 0x20],
	// Channel 0: mode 2, 65536 counts.
	[0x43, 0x34], [0x40, 0], [0x40, 0],
];

const ROM = 0xf_0000;
// biome-ignore format: one row a handler, its offset in the ROM's segment and its code
const HANDLERS = {
	/** IRET. */
	none:   { offset: 0xff53, code: [0xcf] },
	/** PUSH AX; MOV AL, 20H; OUT 20H, AL; POP AX; IRET. */
	master: { offset: 0xfea5, code: [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf] },
	/** The same to both controllers. */
	slave:  { offset: 0xfeb0, code: [0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf] },
} as const;

function handlerOf(vector: number) {
	if (vector >= 0x08 && vector < 0x10) return HANDLERS.master;
	return vector >= 0x70 && vector < 0x78 ? HANDLERS.slave : HANDLERS.none;
}

/** What firmware leaves in memory: the vector table, and its handlers. */
export function firmwareMemory(): Segment[] {
	const table = new DataView(new ArrayBuffer(256 * 4));
	for (let vector = 0; vector < 256; vector++) {
		table.setUint16(vector * 4, handlerOf(vector).offset, true);
		table.setUint16(vector * 4 + 2, ROM >> 4, true);
	}
	return [
		{ gpa: 0, bytes: new Uint8Array(table.buffer) },
		...Object.values(HANDLERS).map(({ offset, code }) => ({
			gpa: ROM + offset,
			bytes: Uint8Array.from(code),
		})),
	];
}

/** Leaves a VM as firmware would. Without interrupt controllers in the kernel there is nothing to set up but memory. */
export function leaveAsFirmware(vm: Vm, cycles: number): void {
	for (const [port, value] of PORT_WRITES) kernelPioWrite(vm, port, value, cycles);
	for (const { gpa, bytes } of firmwareMemory()) writeGuestPhysical(vm, gpa, bytes);
}
