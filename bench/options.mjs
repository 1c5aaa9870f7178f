// Options of a bench: a wrong one gets one line and exit code 2, and --help tells what there is.
import { parseArgs } from "node:util";

/**
 * Reads the command line.
 * @param name of the npm script
 * @param options as `parseArgs` of node:util wants them
 * @returns their values
 */
export function readOptions(name, options) {
	const usage = `npm run ${name} -- ${Object.entries(options)
		.map(([option, { default: value }]) => `[--${option} ${value ?? option.toUpperCase()}]`)
		.join(" ")}`;
	try {
		const { values } = parseArgs({ options: { ...options, help: { type: "boolean", short: "h" } } });
		if (values.help !== true) return values;
		console.log(usage);
		process.exit(0);
	} catch (error) {
		console.error(`${name}: ${error.message.split(". ")[0]}; usage: ${usage}`);
		process.exit(2);
	}
}
