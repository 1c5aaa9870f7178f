/** The keys of `reenter top`, which are perf top's as far as the thing that they ask for is there. */

// biome-ignore format: a table
export const KEYS: readonly { readonly keys: string; readonly does: string }[] = [
	{ keys: "h ?",             does: "this help" },
	{ keys: "q Q",             does: "quit" },
	{ keys: "UP DOWN PGUP PGDN",does: "move; so do SPACE, HOME and END" },
	{ keys: "ENTER a",         does: "why the chosen symbol is there" },
	{ keys: "s",               does: "the same of a symbol by its name" },
	{ keys: "S ESC",           does: "back to the table" },
	{ keys: "d",               does: "seconds between two refreshes" },
	{ keys: "e",               does: "entries to show; 0 for as many as fit" },
	{ keys: "f",               does: "show from so many samples on or, with %, so much overhead" },
	{ keys: "K",               does: "hide or show kernel symbols" },
	{ keys: "U",               does: "hide or show user symbols and, with --guest, the guest's" },
	{ keys: "i",               does: "what is inlined: kernel, all, none" },
	{ keys: "z",               does: "zero samples at each refresh, or let them fade to 7/8" },
	{ keys: "P",               does: "write the table to reenter.hist.N" },
	{ keys: "CTRL-C",          does: "end with exit code 130" },
	{ keys: "CTRL-Z",          does: "suspend" },
];
