/** Text in HTML. */

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** A text as it stands in markup, in an attribute too. */
export function markup(text: string): string {
	return text.replace(/[&<>"]/g, (character) => ENTITIES[character]!);
}

/** Data as JSON in a script element, which nothing in it can end. */
export function scriptJson(data: unknown): string {
	return JSON.stringify(data).replaceAll("<", "\\u003c");
}
