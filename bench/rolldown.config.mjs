// Bundles the benches as the commands are bundled, so that they time what users run.
import { bundle } from "../rolldown.config.mjs";

const benches = ["bench", "check", "profile"];

export default {
	...bundle,
	input: { ...bundle.input, ...Object.fromEntries(benches.map((name) => [name, `bench/${name}.mjs`])) },
	output: { ...bundle.output, dir: "build/bench" },
};
