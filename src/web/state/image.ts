/** Guest images that were dropped on the page. Small ones go into the address; of others it has the name alone. */
import { go } from "./app.ts";
import { pack } from "./pack.ts";

/** Characters of a packed image that an address may have. */
const PACKED_MAX = 24_000;
const images = new Map<string, Uint8Array>();

/** The bytes of an image by its name in the state, if they are here. */
export const imageBytes = (name: string): Uint8Array | undefined => images.get(name);

/** Keeps an image's bytes. */
export function setImageBytes(name: string, bytes: Uint8Array): void {
	images.set(name, bytes);
}

/** Takes a file as the guest, and shows it run. */
export async function takeImage(file: File): Promise<void> {
	const bytes = new Uint8Array(await file.arrayBuffer());
	const name = `file:${file.name}`;
	setImageBytes(name, bytes);
	const packed = await pack(bytes);
	go(
		{
			tab: "run",
			guest: name,
			image: packed.length <= PACKED_MAX ? packed : "",
			events: "",
			at: 0,
			configuration: "",
		},
		true,
	);
}
