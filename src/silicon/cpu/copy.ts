/** Copies of register blocks, several at each VM entry and VM exit. */

// Taken from the prototype once: in `to.set(from)` V8 searches the prototypes for `set` at every call, which takes as
// long as copying a register block does.
const set = Uint8Array.prototype.set;

/** Copies a block over another of the same length. */
export function copyBlock(from: Uint8Array, to: Uint8Array): void {
	set.call(to, from);
}
