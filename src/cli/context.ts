/** What commands are given. */
import type { Io } from "./io.ts";
import type { Services } from "./services.ts";
import type { Style } from "./style.ts";

/** What every command gets. */
export interface Context {
	readonly io: Io;
	readonly services: Services;
	readonly style: Style;
}

/** Options that every command has. */
export interface CommonOptions {
	readonly json?: boolean;
	readonly output?: string;
}
