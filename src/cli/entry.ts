/** Binds the command line to the process. */
import { EXIT } from "./io.ts";
import { main } from "./main.ts";
import { processIo as io } from "./process-io.ts";
import { SERVICES } from "./services.ts";

try {
	process.exitCode = await main(process.argv.slice(2), io, SERVICES);
} catch (error) {
	// Node's own code for this would be 1, which is a verdict here.
	io.err(
		`reenter: internal error, please report it: ${error instanceof Error ? error.stack : String(error)}\n`,
	);
	process.exitCode = EXIT.internal;
}
