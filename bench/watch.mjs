// Takes what a benchmark program prints, and times it from its S to its E.
import { performance } from "node:perf_hooks";

/** A program's output, as it comes. */
export class Watch {
	text = "";
	started = 0;
	ended = 0;
	take(text) {
		for (const char of text) {
			if (char === "S") this.started = performance.now();
			if (char === "E") this.ended = performance.now();
			this.text += char;
		}
	}
	get isComplete() {
		return this.text.endsWith("\n");
	}
	get result() {
		if (!this.isComplete) return null;
		return { seconds: (this.ended - this.started) / 1000, value: this.text.trim().slice(2) };
	}
}
