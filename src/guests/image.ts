/** A guest program, ready to be put into guest memory. Nothing here touches a machine. */

/** One run of bytes at a guest physical address. */
export interface Segment {
	readonly gpa: number;
	readonly bytes: Uint8Array;
}

/**
 * How the program expects to be started: in 64-bit mode with paging on (boot.ts says with what in which
 * register), as a multiboot 1 kernel in 32-bit protected mode, as Linux's bzImage, or at a TD's reset vector.
 */
export type BootProtocol = "long-mode" | "multiboot" | "linux" | "td";

export interface Image {
	readonly protocol: BootProtocol;
	/** Guest physical address of the first instruction. */
	readonly entry: number;
	readonly segments: readonly Segment[];
	/** First guest physical address behind all segments. */
	readonly endGpa: number;
}

/** What is wrong with an image file, in one line. */
export class ImageError extends Error {
	override readonly name = "ImageError";
}
