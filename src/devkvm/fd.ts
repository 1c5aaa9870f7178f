/** A file descriptor of /dev/kvm's family, and ioctls on it by name. */
import { IOCTL, type IoctlName } from "../uapi/ioctl.ts";
import { type FieldValue, type Fields, type Struct, buffer, encode } from "../uapi/layout.ts";
import type { Libc } from "./libc.ts";

export class Fd {
	readonly libc: Libc;
	readonly number: number;
	private closed = false;

	constructor(libc: Libc, number: number) {
		this.libc = libc;
		this.number = number;
	}

	/** An ioctl with a number or with bytes. @throws KvmError with the ioctl's name */
	ioctl(name: IoctlName, argument: number | Uint8Array = 0): number {
		return this.libc.ioctl(this.number, IOCTL[name], name, argument);
	}

	/** An ioctl that fills a struct. */
	get<F extends Fields>(name: IoctlName, layout: Struct<F>): { -readonly [K in keyof F]: FieldValue<F[K]> } {
		const { bytes, view } = buffer(layout.bytes);
		this.ioctl(name, bytes);
		return layout.read(view, 0);
	}

	/** An ioctl that takes a struct. */
	set<F extends Fields>(
		name: IoctlName,
		layout: Struct<F>,
		value: { readonly [K in keyof F]?: FieldValue<F[K]> },
	): number {
		return this.ioctl(name, encode(layout, value).bytes);
	}

	/** Closes it, once. */
	close(): void {
		if (this.closed) return;
		this.closed = true;
		this.libc.close(this.number);
	}
}
