/**
 * A whole machine as bytes: registers, devices, KVM's and the kernel's state, and memory.
 *
 *     "REENTERSNAPSHOT\n"   16 bytes
 *     format version        u32, little-endian
 *     lengths               3 × u32: header, graph, page offsets; the pages follow
 *     header                JSON: SnapshotHeader
 *     graph                 JSON: CodedGraph
 *     page offsets          u32 each
 *     pages                 4 KiB each
 */
import type { Machine } from "../api/kvm.ts";
import type { Vmm, VmmResult } from "../api/vmm.ts";
import { type CodedGraph, type Graph, SnapshotError } from "./graph.ts";
import { forgetTranslations, putPages, writtenPages } from "./machine-graph.ts";

export { SnapshotError };

const MAGIC = "REENTERSNAPSHOT\n";
const FORMAT_VERSION = 1;
const PREFIX_BYTES = MAGIC.length + 16;

/** How the machine was made; to restore a snapshot one is made the same way. */
export interface SnapshotHeader {
	/** Version of the program. */
	readonly program: string;
	/** Hash over CPU model and tree, as `modelHash` makes it. */
	readonly modelHash: string;
	readonly model: string;
	readonly vendor: "vmx" | "svm";
	readonly tree: string;
	readonly vcpus: number;
	readonly seed: number;
	readonly pit: boolean;
	readonly guestRamBytes: number;
	/** How the run came to its end, if the guest ended it. */
	readonly ended?: Exclude<VmmResult["kind"], "budget">;
}

interface Parts {
	readonly header: SnapshotHeader;
	readonly graph: CodedGraph;
	readonly offsets: Uint32Array;
	readonly pages: Uint8Array;
}

/** FNV-1a over a text, as 8 digits. */
export function hashText(text: string): string {
	let hash = 0x811c_9dc5;
	for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x0100_0193);
	return (hash >>> 0).toString(16).padStart(8, "0");
}

/**
 * Writes a machine.
 * @param graph made when the machine was
 * @throws SnapshotError if the machine cannot be brought to rest
 */
export function writeSnapshot(machine: Machine, vmm: Vmm, graph: Graph, header: SnapshotHeader): Uint8Array {
	vmm.rest();
	forgetTranslations(machine);
	const encoder = new TextEncoder();
	const head = encoder.encode(JSON.stringify(header));
	const objects = encoder.encode(JSON.stringify(graph.encode()));
	const { offsets, bytes } = writtenPages(machine);
	const out = new Uint8Array(PREFIX_BYTES + head.length + objects.length + offsets.byteLength + bytes.length);
	const view = new DataView(out.buffer);
	out.set(encoder.encode(MAGIC));
	for (const [index, value] of [FORMAT_VERSION, head.length, objects.length, offsets.byteLength].entries()) {
		view.setUint32(MAGIC.length + 4 * index, value, true);
	}
	let at = PREFIX_BYTES;
	for (const part of [head, objects, new Uint8Array(offsets.buffer), bytes]) {
		out.set(part, at);
		at += part.length;
	}
	return out;
}

/** @throws SnapshotError if the bytes are no snapshot, or one of another format */
function parse(bytes: Uint8Array): Parts {
	const decoder = new TextDecoder();
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	if (bytes.length < PREFIX_BYTES || decoder.decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) {
		throw new SnapshotError("not a snapshot: it does not begin with REENTERSNAPSHOT");
	}
	const [version, ...lengths] = [0, 1, 2, 3].map((index) => view.getUint32(MAGIC.length + 4 * index, true));
	if (version !== FORMAT_VERSION) {
		throw new SnapshotError(`a snapshot of format ${version}; this program reads format ${FORMAT_VERSION}`);
	}
	let at = PREFIX_BYTES;
	const take = (length: number): Uint8Array => {
		if (at + length > bytes.length) throw new SnapshotError(`a truncated snapshot of ${bytes.length} bytes`);
		at += length;
		return bytes.subarray(at - length, at);
	};
	const [head, objects, offsets] = lengths.map(take) as [Uint8Array, Uint8Array, Uint8Array];
	const pages = take((offsets.length / 4) * 4096);
	try {
		return {
			header: JSON.parse(decoder.decode(head)) as SnapshotHeader,
			graph: JSON.parse(decoder.decode(objects)) as CodedGraph,
			// A copy: slice() of a Node Buffer would share the memory of the whole.
			offsets: new Uint32Array(new Uint8Array(offsets).buffer),
			pages,
		};
	} catch (error) {
		throw new SnapshotError(`a damaged snapshot: ${error instanceof Error ? error.message : String(error)}`);
	}
}

/** How the machine of a snapshot was made. @throws SnapshotError if the bytes are no snapshot, or one of another format */
export function snapshotHeader(bytes: Uint8Array): SnapshotHeader {
	return parse(bytes).header;
}

/**
 * Makes a machine what the one of a snapshot was.
 * @param graph of a machine that was just made as the header says
 * @param expected what the header has to say of program and models; the names are for messages
 * @throws SnapshotError that names both if it says otherwise
 */
export function restoreSnapshot(
	bytes: Uint8Array,
	machine: Machine,
	graph: Graph,
	expected: Pick<SnapshotHeader, "program" | "modelHash" | "tree" | "model" | "vendor">,
): void {
	const { header, graph: objects, offsets, pages } = parse(bytes);
	if (header.program !== expected.program)
		throw new SnapshotError(`the snapshot is of version ${header.program}, and this is ${expected.program}`);
	if (header.modelHash !== expected.modelHash) {
		const named = ({ tree, vendor, model, modelHash }: typeof expected) =>
			`${tree}, ${vendor} on ${model} (${modelHash})`;
		throw new SnapshotError(`the snapshot is of ${named(header)}, and this is ${named(expected)}`);
	}
	putPages(machine, offsets, pages);
	graph.decode(objects);
	forgetTranslations(machine);
}
