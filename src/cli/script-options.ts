/** Options of an npm script: a wrong one gets one line and exit code 2, and --help tells what there is. */
import { type ParseArgsConfig, parseArgs } from "node:util";

type Options = NonNullable<ParseArgsConfig["options"]>;
type Values<T extends Options> = ReturnType<typeof parseArgs<{ options: T }>>["values"];

/**
 * Reads the command line; ends the process where that cannot be done, or where help is asked for.
 * @param name of the npm script
 * @param options as `parseArgs` of node:util wants them
 * @returns their values
 */
export function readOptions<const T extends Options>(name: string, options: T): Values<T> {
	const usage = `npm run ${name} -- ${Object.entries(options).map(usageOf).join(" ")}`;
	try {
		const all: Options = { ...options, help: { type: "boolean", short: "h" } };
		const { help, ...values } = parseArgs({ options: all }).values;
		if (help !== true) return values as Values<T>;
		console.log(usage);
		process.exit(0);
	} catch (error) {
		if (!(error instanceof TypeError)) throw error;
		console.error(`${name}: ${error.message.split(". ")[0]}; usage: ${usage}`);
		process.exit(2);
	}
}

function usageOf([option, { type, default: value }]: [string, Options[string]]): string {
	if (type === "boolean") return `[--${option}]`;
	return `[--${option} ${value === undefined || value === "" ? option.toUpperCase() : value}]`;
}
