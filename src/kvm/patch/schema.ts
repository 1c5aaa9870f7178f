/**
 * The schema of patch files. The reader checks with it, and editors complete with the JSON Schema that is made from it.
 */
import { toJsonSchema } from "@valibot/to-json-schema";
import * as v from "valibot";

const text = (description: string) =>
	v.pipe(v.string(), v.minLength(1, "it is empty"), v.description(description));
const name = (description: string) =>
	v.pipe(
		v.string(),
		v.regex(/^[\w.:+-]+$/, "a name is letters, digits, and . _ - + :"),
		v.description(description),
	);
const count = (description: string) =>
	v.pipe(v.number(), v.minValue(0, "it is less than 0"), v.description(description));
const cycles = v.pipe(v.number(), v.minValue(0, "it is less than 0"));
/** What only a module can give. */
const code = v.function();

const anchor = {
	before: v.optional(text("the node of the flow that it goes before")),
	after: v.optional(text("the node of the flow that it goes behind")),
	at: v.optional(v.pipe(v.picklist(["start", "end"]), v.description("the end of the flow that it goes to"))),
};
const opValue = v.optional(
	v.pipe(v.picklist(["guest", "host"]), v.description("whose value the op loads, for ops that load one")),
);
const instructions = v.optional(count("plain instructions besides its ops"));
const keep = v.optional(
	v.union([v.pipe(v.literal("exit_fastpath"), v.description("where the result goes")), code]),
);

const condition: v.GenericSchema = v.lazy(() => conditionSchema);
const comparand = v.union([v.number(), text("a value's or field's name")]);

/** The forms of a condition, by the key that tells them apart. */
export const CONDITION_FORMS = {
	not: v.strictObject({ not: condition }),
	all: v.strictObject({ all: v.array(condition) }),
	any: v.strictObject({ any: v.array(condition) }),
	value: v.strictObject({
		value: text("a field of this patch, or a value that docs/patches.md lists; alone: it is not 0"),
		is: v.optional(comparand),
	}),
	exit: v.strictObject({ exit: text("the last exit, as trace events name it") }),
	request: v.strictObject({ request: text("a request that is pending") }),
} as const;

const conditionSchema: v.GenericSchema = v.union([
	text("the condition of the guard of this name in a known tree"),
	...Object.values(CONDITION_FORMS),
]);

const node: v.GenericSchema = v.lazy(() => nodeSchema);
const nodes = (description: string) => v.pipe(v.array(node), v.description(description));

/** The forms of a node, by the key that tells them apart. */
export const NODE_FORMS = {
	step: v.strictObject({
		step: text("a step's name"),
		run: v.optional(code),
		does: v.optional(
			v.pipe(
				v.array(v.union([v.string(), v.strictObject({ op: v.string(), value: opValue }), code])),
				v.description("ops that it does, in this order"),
			),
		),
		instructions,
	}),
	op: v.strictObject({
		op: text("an op that reenter models lists, or one of this patch"),
		value: opValue,
		name: v.optional(text("the step's name; default the op's")),
		instructions,
	}),
	assign: v.strictObject({
		assign: text("a field of this patch"),
		to: comparand,
		name: v.optional(text("the step's name; default what is assigned")),
		instructions: v.optional(count("plain instructions")),
	}),
	if: v.strictObject({
		if: text("a guard's name; without when, its condition is that of the guard of this name in a known tree"),
		when: v.optional(condition),
		then: nodes("what follows if it holds"),
		else: v.optional(nodes("what follows if not")),
		test: v.optional(code),
		instructions,
	}),
	loop: v.strictObject({ loop: text("the loop's name"), body: nodes("what it repeats") }),
	break: v.strictObject({ break: text("the loop that is left") }),
	call: v.strictObject({ call: text("a flow"), keep }),
	callOp: v.strictObject({ callOp: text("a member of kvm_x86_ops"), keep }),
	return: v.strictObject({
		return: v.pipe(v.string(), v.description('what reenter show prints behind "return"')),
		value: v.optional(
			v.union([v.number(), v.pipe(v.literal("exit_fastpath"), v.description("the result kept last")), code]),
		),
	}),
} as const;

const nodeSchema: v.GenericSchema = v.union([
	text("a step, guard or loop of a known tree (flow/name where several have the name), or a flow to call"),
	...Object.values(NODE_FORMS),
]);

/** The forms of an edit, by the key that tells them apart. */
export const EDIT_FORMS = {
	move: v.strictObject({
		move: text("the node"),
		from: text("the flow that it is in"),
		to: text("the flow that it goes to"),
		...anchor,
	}),
	insert: v.strictObject({ insert: node, into: text("the flow that it goes into"), ...anchor }),
	remove: v.strictObject({ remove: text("the node"), from: text("the flow that it is in") }),
	replace: v.strictObject({ replace: text("the node"), in: text("the flow that it is in"), by: node }),
	dropGuard: v.strictObject({
		dropGuard: text("a guard"),
		in: text("the flow that it is in"),
		as: v.pipe(v.picklist(["always", "never"]), v.description("what its condition counts as from then on")),
	}),
	removeFlow: v.strictObject({ removeFlow: text("a flow that nothing calls any more") }),
	set: v.strictObject({
		set: text("a member of kvm_x86_ops"),
		of: v.pipe(v.picklist(["kvm_intel", "kvm_amd"]), v.description("the module")),
		to: text("the flow that it points to now"),
	}),
} as const;

/** A flow. `body` is looked at node by node. */
export const FLOW_FORM = v.strictObject({
	name: text("the kernel function's name"),
	file: v.optional(text("its file below arch/x86/kvm/")),
	body: nodes("what it does, in order"),
});

/** An op of the patch. */
export const OP_FORM = v.strictObject({
	name: name("what reenter cost prints"),
	symbol: v.optional(text("the function that is on the call stack while it is done")),
	cycles: v.union([
		v.pipe(cycles, v.description("cycles on every CPU model")),
		v.pipe(v.record(v.string(), cycles), v.description("cycles by CPU model; default stands for all others")),
	]),
	origin: v.optional(v.picklist(["published", "calibrated", "assumed"])),
	source: v.optional(text("where the figure is from")),
});

/** Fields of the patch. */
export const FIELDS_FORM = v.array(name("a field's name"));

/** A vendor module of the patch. */
export const VENDOR_FORM = v.strictObject({
	name: name("what --vendor takes"),
	title: v.optional(text("what it is")),
	basedOn: v.pipe(v.picklist(["vmx", "svm", "tdx"]), v.description("its hardware, and what ops leaves out")),
	ops: v.pipe(v.record(v.string(), v.string()), v.description("members of kvm_x86_ops, and their flows")),
});

const body = {
	flows: v.optional(
		v.pipe(v.array(FLOW_FORM), v.description("kernel functions that it adds, before the edits")),
	),
	edits: v.optional(v.pipe(v.array(v.union(Object.values(EDIT_FORMS))), v.description("in this order"))),
};
const head = {
	$schema: v.optional(v.string()),
	name: name("the name of the tree that comes out"),
	base: v.optional(text("the tree that it is made for; default v6.18")),
	title: v.optional(text("one line: what it does")),
};

/** One patch of a series, its parts not looked at. */
export const SERIES_PATCH_OUTLINE = v.strictObject({
	title: text("the mail's subject"),
	flows: v.optional(v.array(v.unknown())),
	edits: v.optional(v.array(v.unknown())),
});

/** A patch file, its parts not looked at. */
export const DOCUMENT_OUTLINE = v.strictObject({
	...head,
	ops: v.optional(v.array(v.unknown())),
	fields: v.optional(FIELDS_FORM),
	vendors: v.optional(v.array(v.unknown())),
	flows: v.optional(v.array(v.unknown())),
	edits: v.optional(v.array(v.unknown())),
	patches: v.optional(v.array(v.unknown())),
});

const documentSchema = v.strictObject({
	...head,
	ops: v.optional(v.pipe(v.array(OP_FORM), v.description("ops of its own"))),
	fields: v.optional(
		v.pipe(FIELDS_FORM, v.description("fields of its own on the vCPU: numbers, 0 at first")),
	),
	...body,
	patches: v.optional(
		v.pipe(
			v.array(v.strictObject({ title: text("the mail's subject"), ...body })),
			v.description("a series, applied behind flows and edits"),
		),
	),
	vendors: v.optional(v.pipe(v.array(VENDOR_FORM), v.description("vendor modules of its own"))),
});

/** The JSON Schema (draft 7) of a patch file in JSON. */
export function patchJsonSchema(): object {
	const schema = toJsonSchema(documentSchema, {
		definitions: { node: nodeSchema, condition: conditionSchema },
		// Functions are a module's to give.
		overrideSchema: ({ valibotSchema, jsonSchema }) =>
			valibotSchema.type === "function" ? { not: {} } : jsonSchema,
		errorMode: "ignore",
	});
	return { ...schema, title: "A patch of KVM's run loop, as reenter reads it" };
}
