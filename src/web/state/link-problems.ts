/** What of an address cannot be read: links that were cut off, mistyped, or made by another version of the page. */
import { readEvents } from "./schedule.ts";
import { PARAMETERS, TABS, VENDOR_NAMES, hashParts } from "./url.ts";

const count = (text: string) => (text === "" ? 0 : text.split(",").length);

/** One line for each thing that an address has and the page does not know; what they name is at its default then. */
export function hashProblems(hash: string): readonly string[] {
	const { name, parameters } = hashParts(hash);
	const problems: string[] = [];
	if (name !== "" && !(TABS as readonly string[]).includes(name))
		problems.push(`the link names a view "${name}", which the page does not have`);
	for (const key of new Set(parameters.keys()))
		if (!PARAMETERS.includes(key)) problems.push(`the link has "${key}", which the page does not know`);
	const vendor = parameters.get("vendor");
	if (vendor !== null && !(VENDOR_NAMES as readonly string[]).includes(vendor))
		problems.push(`the link's vendor is "${vendor}", not one of ${VENDOR_NAMES.join(", ")}`);
	const at = parameters.get("at");
	if (at !== null && !/^\d+$/.test(at)) problems.push(`the link's position "${at}" is no number`);
	const events = parameters.get("events") ?? "";
	if (readEvents(events).length !== count(events))
		problems.push(`of the link's events "${events}" some are not of the form irq@57 or nmi@60g`);
	return problems;
}
