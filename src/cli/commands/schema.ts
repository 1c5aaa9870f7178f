/** `reenter schema`: for editors, and for programs that write patch files. */
import { patchJsonSchema } from "../../kvm/patch/schema.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT } from "../io.ts";
import { emit } from "../output.ts";
import type { Registry } from "../registry.ts";

function schemaCommand({ io }: Context, options: CommonOptions): number {
	const text = () => `${JSON.stringify(patchJsonSchema(), null, "\t")}\n`;
	emit(io, options, text, patchJsonSchema);
	return EXIT.holds;
}

/** Adds `reenter schema`. */
export function registerSchema({ context, command, action }: Registry): void {
	command("schema", "the JSON Schema of patch files (docs/patches.md)").action(
		action((options: CommonOptions) => schemaCommand(context, options)),
	);
}
