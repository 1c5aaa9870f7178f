/**
 * A machine's objects as data, and back. The objects that a machine has when it was just made get numbers in the order
 * of a walk; a machine that is made the same way has the same. What a run changed of them is written by number, and
 * objects that it made are written whole, with the name of their class.
 *
 * Functions are written by number too: those that a machine has from the start. A field that holds another one cannot be
 * written, nor can a generator: the machine has to be at rest (Vmm.rest()).
 */

/** A machine cannot be written or read: one line. */
export class SnapshotError extends Error {
	override readonly name = "SnapshotError";
}

export interface GraphRules {
	/** Objects that are the same in every machine that is made alike: numbered, but not looked into. */
	readonly opaque: ReadonlySet<object>;
	/** Memory that is written elsewhere: views of it are numbered, their bytes are not here. */
	readonly foreign: ReadonlySet<ArrayBufferLike>;
	/** Fields that are no state. */
	isLeft(owner: object, field: string): boolean;
	/** Classes of objects that a run makes, by name. */
	readonly classes: Readonly<Record<string, abstract new (...args: never[]) => object>>;
}

/** A value: JSON's own, or an array that says what it is. */
type Coded =
	| null
	| boolean
	| number
	| string
	| readonly ["u"]
	| readonly ["n", string]
	| readonly ["b", string]
	| readonly ["k" | "f" | "l", number];

/** An object that is written. */
interface CodedObject {
	/** Fields, elements or entries. */
	readonly c: readonly (readonly [string, Coded])[] | readonly Coded[];
	/** Class name, of objects that a run made. */
	readonly t?: string;
}

/** Bytes of a view that are written: base64, and the view's class for one that a run made. */
interface CodedView {
	readonly v: string;
	readonly t?: string;
}

export interface CodedGraph {
	/** Numbered objects, by number. */
	readonly known: readonly (CodedObject | CodedView | null)[];
	/** Those that a run made. */
	readonly loose: readonly (CodedObject | CodedView)[];
}

const VIEWS = {
	Uint8Array,
	Uint16Array,
	Uint32Array,
	Int32Array,
	Float64Array,
	BigUint64Array,
	BigInt64Array,
} as const;

function toBase64(bytes: Uint8Array): string {
	let text = "";
	for (let at = 0; at < bytes.length; at += 0x2000)
		text += String.fromCharCode(...bytes.subarray(at, at + 0x2000));
	return btoa(text);
}

function fromBase64(text: string): Uint8Array {
	return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

const bytesOf = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** A machine's objects by number. Make it when the machine was just made, and before it runs. */
export class Graph {
	private readonly rules: GraphRules;
	private readonly objects: object[] = [];
	private readonly numbers = new Map<object, number>();
	private readonly functions: object[] = [];
	private readonly functionNumbers = new Map<object, number>();

	/** @param roots objects whose fields, and all that is reached from them, are the machine */
	constructor(roots: readonly object[], rules: GraphRules) {
		this.rules = rules;
		for (const root of roots) this.number(root);
		for (let at = 0; at < this.objects.length; at++) this.numberContent(this.objects[at]!);
	}

	private number(value: unknown): void {
		if (typeof value === "function") {
			if (this.functionNumbers.has(value)) return;
			this.functionNumbers.set(value, this.functions.push(value) - 1);
		} else if (typeof value === "object" && value !== null && !this.numbers.has(value)) {
			this.numbers.set(value, this.objects.push(value) - 1);
		}
	}

	private isClosed(object: object): boolean {
		return ArrayBuffer.isView(object) || object instanceof ArrayBuffer || this.rules.opaque.has(object);
	}

	private numberContent(object: object): void {
		if (this.isClosed(object)) return;
		if (object instanceof Map) for (const [key, value] of object) [key, value].map((one) => this.number(one));
		else if (object instanceof Set || Array.isArray(object)) for (const value of object) this.number(value);
		else
			for (const [name, value] of Object.entries(object)) {
				if (!this.rules.isLeft(object, name)) this.number(value);
			}
	}

	/** How many objects and functions the machine had. Machines that are made alike have the same. */
	get size(): string {
		return `${this.objects.length}.${this.functions.length}`;
	}

	/** Writes the machine. @throws SnapshotError if it is not at rest */
	encode(): CodedGraph {
		const loose: (CodedObject | CodedView)[] = [];
		const looseNumbers = new Map<object, number>();
		const queue: object[] = [];
		const code = (value: unknown, where: string): Coded => {
			switch (typeof value) {
				case "undefined":
					return ["u"];
				case "number":
					return Number.isFinite(value) && !Object.is(value, -0)
						? value
						: ["n", Object.is(value, -0) ? "-0" : String(value)];
				case "bigint":
					return ["b", value.toString(16)];
				case "function": {
					const number = this.functionNumbers.get(value);
					if (number === undefined)
						throw new SnapshotError(`${where} is in the middle of something: it holds a function`);
					return ["f", number];
				}
				case "object":
					return value === null ? null : reference(value, where);
				default:
					return value as string | boolean;
			}
		};
		const reference = (object: object, where: string): Coded => {
			const number = this.numbers.get(object);
			if (number !== undefined) return ["k", number];
			let at = looseNumbers.get(object);
			if (at === undefined) {
				const name = object.constructor.name;
				const isKnown =
					name in this.rules.classes || name in VIEWS || ["Object", "Array", "Map", "Set"].includes(name);
				if (!isKnown) throw new SnapshotError(`${where} holds a ${name}, which cannot be written`);
				at = queue.push(object) - 1;
				looseNumbers.set(object, at);
			}
			return ["l", at];
		};
		const content = (object: object): CodedObject["c"] => {
			const where = object.constructor.name;
			if (object instanceof Map) return [...object].flat().map((value) => code(value, where));
			if (object instanceof Set || Array.isArray(object))
				return [...object].map((value) => code(value, where));
			return Object.entries(object)
				.filter(([name]) => !this.rules.isLeft(object, name))
				.map(([name, value]) => [name, code(value, `${where}.${name}`)] as const);
		};
		const known = this.objects.map((object) => {
			if (ArrayBuffer.isView(object)) {
				return this.rules.foreign.has(object.buffer) ? null : { v: toBase64(bytesOf(object)) };
			}
			return this.isClosed(object) ? null : { c: content(object) };
		});
		for (let at = 0; at < queue.length; at++) {
			const object = queue[at]!;
			const t = object.constructor.name;
			loose.push(
				ArrayBuffer.isView(object) ? { v: toBase64(bytesOf(object)), t } : { c: content(object), t },
			);
		}
		return { known, loose };
	}

	/** Makes the machine what another one was when it was written. @throws SnapshotError if they were not made alike */
	decode({ known, loose }: CodedGraph): void {
		if (known.length !== this.objects.length) {
			throw new SnapshotError(`the machine has ${this.objects.length} objects, the snapshot ${known.length}`);
		}
		const made = loose.map((entry) => this.make(entry));
		const value = (coded: Coded): unknown => {
			if (!Array.isArray(coded)) return coded;
			const [kind, detail] = coded as unknown as readonly [string, never];
			if (kind === "k") return this.objects[detail];
			if (kind === "l") return made[detail];
			if (kind === "f") return this.functions[detail];
			if (kind === "b") return BigInt(`0x${String(detail)}`.replace("0x-", "-0x"));
			return kind === "n" ? Number(detail) : undefined;
		};
		const fill = (object: object, coded: CodedObject | CodedView): void => {
			if ("v" in coded) {
				bytesOf(object as Uint8Array).set(fromBase64(coded.v));
				return;
			}
			const { c } = coded;
			if (object instanceof Map) {
				object.clear();
				for (let at = 0; at < c.length; at += 2) object.set(value(c[at] as Coded), value(c[at + 1] as Coded));
			} else if (object instanceof Set) {
				object.clear();
				for (const one of c) object.add(value(one as Coded));
			} else if (Array.isArray(object)) {
				object.length = 0;
				for (const one of c) object.push(value(one as Coded));
			} else {
				for (const [name, one] of c as readonly (readonly [string, Coded])[]) {
					const next = value(one);
					if ((object as Record<string, unknown>)[name] !== next)
						(object as Record<string, unknown>)[name] = next;
				}
			}
		};
		for (const [at, coded] of known.entries()) if (coded !== null) fill(this.objects[at]!, coded);
		for (const [at, coded] of loose.entries()) if (!("v" in coded)) fill(made[at]!, coded);
	}

	private make(entry: CodedObject | CodedView): object {
		const name = entry.t ?? "Object";
		if ("v" in entry) {
			const view = VIEWS[name as keyof typeof VIEWS];
			return new view(fromBase64(entry.v).buffer as ArrayBuffer);
		}
		if (name === "Array") return [];
		if (name === "Map") return new Map();
		if (name === "Set") return new Set();
		if (name === "Object") return {};
		const type = this.rules.classes[name];
		if (type === undefined)
			throw new SnapshotError(`the snapshot holds a ${name}, which this program does not know`);
		return Object.create(type.prototype as object) as object;
	}
}
