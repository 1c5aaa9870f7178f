/** Frames of a call stack that are no functions: the guest, the processor's own work at VM entry and exit, standing still. */
export const FRAME = {
	guest: "[guest]",
	vmEntry: "[VM entry]",
	vmExit: "[VM exit]",
	idle: "[idle]",
} as const;
