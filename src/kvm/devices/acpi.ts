/**
 * ACPI tables (ACPI Specification 6.4, chapter 5) as firmware would leave them below 1 MiB: RSDP, RSDT and XSDT, FADT
 * with FACS and a DSDT that has \_S3 and \_S5 alone, MADT. ACPI is enabled from the start; there is no SMI command port.
 */

import { SLP_TYP } from "./legacy.ts";

/** Where the tables are, guest physical; the RSDP is first, at a multiple of 16. */
export const ACPI_GPA = 0xe_0000;
/** Registers of fixed hardware, I/O ports. */
export const PM_PORT = { event: 0x600, control: 0x604, timer: 0x608 } as const;
const SCI_INTERRUPT = 9;
const HEADER_BYTES = 36;
const FADT_BYTES = 116;
const FACS_BYTES = 64;
/** The FACS, at a multiple of 64, and in it the firmware's waking vector: a real-mode address, 32 bits. */
const FACS_GPA = ACPI_GPA + FACS_BYTES;
export const WAKING_VECTOR_GPA = FACS_GPA + 12;
const LOCAL_APIC_GPA = 0xfee0_0000;
const IO_APIC_GPA = 0xfec0_0000;
/** IA-PC boot architecture flags, and fixed feature flags: WBINVD works, C1 works, no sleep and power buttons. */
const FADT_FLAGS = (1 << 0) | (1 << 2) | (1 << 4) | (1 << 5);
const LEGACY_DEVICES = 1;
/** MADT flags: the PICs are there too. */
const PCAT_COMPAT = 1;
/** Interrupt polarity high, level triggered. */
const LEVEL_HIGH = 0xd;

function ascii(text: string): Uint8Array {
	return new TextEncoder().encode(text);
}

/** Makes the sum of some bytes 0. */
function checksum(bytes: Uint8Array, at: number, length = bytes.length): void {
	bytes[at] = 0;
	let sum = 0;
	for (let i = 0; i < length; i++) sum += bytes[i]!;
	bytes[at] = -sum & 0xff;
}

/** A table: its header, then a body. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
	const bytes = new Uint8Array(HEADER_BYTES + body.length);
	const view = new DataView(bytes.buffer);
	bytes.set(ascii(signature), 0);
	view.setUint32(4, bytes.length, true);
	bytes[8] = revision;
	bytes.set(ascii("REENTR"), 10);
	bytes.set(ascii("REENTER "), 16);
	view.setUint32(24, 1, true);
	bytes.set(ascii("RNTR"), 28);
	view.setUint32(32, 1, true);
	bytes.set(body, HEADER_BYTES);
	checksum(bytes, 9);
	return bytes;
}

function words(...values: readonly number[]): Uint8Array {
	return new Uint8Array(Uint32Array.from(values).buffer);
}

function fadt(facsGpa: number, dsdtGpa: number): Uint8Array {
	const body = new Uint8Array(FADT_BYTES - HEADER_BYTES);
	const view = new DataView(body.buffer);
	const at = (offset: number) => offset - HEADER_BYTES;
	view.setUint32(at(36), facsGpa, true);
	view.setUint32(at(40), dsdtGpa, true);
	view.setUint16(at(46), SCI_INTERRUPT, true);
	view.setUint32(at(56), PM_PORT.event, true);
	view.setUint32(at(64), PM_PORT.control, true);
	view.setUint32(at(76), PM_PORT.timer, true);
	body[at(88)] = 4;
	body[at(89)] = 2;
	body[at(91)] = 4;
	// C2 and C3 are not supported: latencies beyond what counts.
	view.setUint16(at(96), 0xfff, true);
	view.setUint16(at(98), 0xfff, true);
	body[at(108)] = 0x32;
	view.setUint16(at(109), LEGACY_DEVICES, true);
	view.setUint32(at(112), FADT_FLAGS, true);
	return table("FACP", 1, body);
}

/** Name (\_Sx, Package () { SLP_TYP, SLP_TYP, 0, 0 }) in AML (20.2). */
function sleepState(name: string, type: number): number[] {
	const [nameOp, packageOp, bytePrefix] = [0x08, 0x12, 0x0a] as const;
	const elements = [bytePrefix, type, bytePrefix, type, 0, 0];
	return [nameOp, ...ascii(name), packageOp, 2 + elements.length, 4, ...elements];
}

function dsdt(): Uint8Array {
	return table(
		"DSDT",
		1,
		Uint8Array.from([...sleepState("_S3_", SLP_TYP.s3), ...sleepState("_S5_", SLP_TYP.s5)]),
	);
}

/** @param cpus local APICs, with ids from 0 */
function madt(cpus: number): Uint8Array {
	const entries: number[] = [];
	for (let id = 0; id < cpus; id++) entries.push(0, 8, id, id, 1, 0, 0, 0);
	entries.push(1, 12, 0, 0, ...words(IO_APIC_GPA, 0));
	// ISA interrupt 0 is pin 2; those that PCI shares are level triggered.
	entries.push(2, 10, 0, 0, ...words(2), 0, 0);
	for (const irq of [5, SCI_INTERRUPT, 10, 11]) entries.push(2, 10, 0, irq, ...words(irq), LEVEL_HIGH, 0);
	// LINT1 of all local APICs is NMI.
	entries.push(4, 6, 0xff, 0, 0, 1);
	return table("APIC", 1, Uint8Array.from([...words(LOCAL_APIC_GPA, PCAT_COMPAT), ...entries]));
}

function facs(): Uint8Array {
	const bytes = new Uint8Array(FACS_BYTES);
	bytes.set(ascii("FACS"), 0);
	bytes[4] = FACS_BYTES;
	return bytes;
}

function rsdp(rsdtGpa: number, xsdtGpa: number): Uint8Array {
	const bytes = new Uint8Array(36);
	const view = new DataView(bytes.buffer);
	bytes.set(ascii("RSD PTR "), 0);
	bytes.set(ascii("REENTR"), 9);
	bytes[15] = 2;
	view.setUint32(16, rsdtGpa, true);
	view.setUint32(20, bytes.length, true);
	view.setUint32(24, xsdtGpa, true);
	checksum(bytes, 8, 20);
	checksum(bytes, 32);
	return bytes;
}

/**
 * The tables as one run of bytes for ACPI_GPA.
 * @param cpus virtual CPUs; those above 255 have no place in a MADT of this kind
 * @throws RangeError for more than 255
 */
export function acpiTables(cpus: number): Uint8Array {
	if (cpus > 255) throw new RangeError(`${cpus} CPUs: the MADT has local APIC ids up to 254`);
	const parts: { readonly gpa: number; readonly bytes: Uint8Array }[] = [];
	let gpa = FACS_GPA;
	const place = (bytes: Uint8Array): number => {
		const at = gpa;
		parts.push({ gpa: at, bytes });
		gpa += Math.ceil(bytes.length / FACS_BYTES) * FACS_BYTES;
		return at;
	};
	const fadtGpa = place(fadt(place(facs()), place(dsdt())));
	const madtGpa = place(madt(cpus));
	const rsdtGpa = place(table("RSDT", 1, words(fadtGpa, madtGpa)));
	const xsdtGpa = place(table("XSDT", 1, words(fadtGpa, 0, madtGpa, 0)));
	parts.push({ gpa: ACPI_GPA, bytes: rsdp(rsdtGpa, xsdtGpa) });
	const all = new Uint8Array(gpa - ACPI_GPA);
	for (const part of parts) all.set(part.bytes, part.gpa - ACPI_GPA);
	return all;
}
