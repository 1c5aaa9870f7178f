/** Bytes as short text for an address: deflated, in base64url. */

async function through(
	bytes: Uint8Array,
	stream: CompressionStream | DecompressionStream,
): Promise<Uint8Array> {
	const source = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(stream);
	return new Uint8Array(await new Response(source).arrayBuffer());
}

/** Packs bytes. */
export async function pack(bytes: Uint8Array): Promise<string> {
	const deflated = await through(bytes, new CompressionStream("deflate-raw"));
	let text = "";
	for (const byte of deflated) text += String.fromCharCode(byte);
	return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Unpacks what `pack` made. @returns null if it is something else */
export async function unpack(packed: string): Promise<Uint8Array | null> {
	try {
		const text = atob(packed.replaceAll("-", "+").replaceAll("_", "/"));
		const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
		return await through(bytes, new DecompressionStream("deflate-raw"));
	} catch {
		return null;
	}
}

/** Packs text. */
export function packText(text: string): Promise<string> {
	return pack(new TextEncoder().encode(text));
}

/** Unpacks text. @returns null if it is something else */
export async function unpackText(packed: string): Promise<string | null> {
	const bytes = await unpack(packed);
	return bytes === null ? null : new TextDecoder().decode(bytes);
}
