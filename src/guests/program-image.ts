/** The guest programs as images, read once. */
import type { Image } from "./image.ts";
import { loadImage } from "./load.ts";
import { findProgram, programBytes } from "./programs.ts";

const images = new Map<string, Image>();

/** A program of this project as an image. @param name of a program that there is */
export function programImage(name: string): Image {
	let image = images.get(name);
	if (image === undefined) {
		image = loadImage(programBytes(findProgram(name)!));
		images.set(name, image);
	}
	return image;
}
