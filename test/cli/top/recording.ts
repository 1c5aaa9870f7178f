/** A small recording for tests of the live view. */
import { requested, recordData } from "../../../src/cli/profile-options.ts";
import type { LiveRecording } from "../../../src/cli/top/state.ts";

/** The loop of INVD with so many iterations, sampled often. */
export async function invdRecording(iterations: number): Promise<LiveRecording> {
	const refuse = () => {
		throw new Error("no files here");
	};
	const io = {
		out: refuse,
		outByte: refuse,
		err: refuse,
		progressColumns: null,
		color: false,
		terminal: null,
		readFile: refuse,
		makeFolder: refuse,
		checkWritable: refuse,
		writeFile: refuse,
	};
	const request = await requested(io, "invd", { iterations, period: 499, inline: "kernel" });
	return recordData({ ...request, options: { ...request.options, ops: true } }, 0);
}
