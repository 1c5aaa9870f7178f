import { expect, test } from "vitest";
import { ACPI_GPA, acpiTables } from "../../../src/kvm/devices/acpi.ts";

/** Tables by signature, found as an operating system finds them. */
function tables(cpus: number): Map<string, Uint8Array> {
	const all = acpiTables(cpus);
	const view = new DataView(all.buffer);
	const at = (gpa: number) => gpa - ACPI_GPA;
	const text = (offset: number) => String.fromCharCode(...all.subarray(offset, offset + 4));
	const found = new Map<string, Uint8Array>();
	const take = (gpa: number) => {
		const offset = at(gpa);
		found.set(text(offset), all.subarray(offset, offset + view.getUint32(offset + 4, true)));
		return offset;
	};
	expect(String.fromCharCode(...all.subarray(0, 8))).toBe("RSD PTR ");
	const xsdt = take(view.getUint32(24, true));
	take(view.getUint32(16, true));
	for (let entry = xsdt + 36; entry < xsdt + view.getUint32(xsdt + 4, true); entry += 8) {
		const offset = take(view.getUint32(entry, true));
		if (text(offset) !== "FACP") continue;
		take(view.getUint32(offset + 36, true));
		take(view.getUint32(offset + 40, true));
	}
	return found;
}

test("the RSDP leads to FADT, MADT, FACS and DSDT, and every table sums to 0", () => {
	const found = tables(2);
	expect([...found.keys()].sort()).toEqual(["APIC", "DSDT", "FACP", "FACS", "RSDT", "XSDT"]);
	for (const [signature, bytes] of found) {
		if (signature === "FACS") continue;
		expect(bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0)).toBe(0);
	}
});

test("the MADT has a local APIC a CPU, the I/O APIC, and the timer on pin 2", () => {
	const madt = tables(3).get("APIC")!;
	const kinds: number[] = [];
	for (let at = 44; at < madt.length; at += madt[at + 1]!) {
		kinds.push(madt[at]!);
		if (madt[at] === 2 && madt[at + 3] === 0) expect(madt[at + 4]).toBe(2);
	}
	expect(kinds.filter((kind) => kind === 0).length).toBe(3);
	expect(kinds.filter((kind) => kind === 1).length).toBe(1);
});
