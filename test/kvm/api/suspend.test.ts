/** ACPI's S3 from the write to PM1 control to the waking vector. */
import { describe, expect, test } from "vitest";
import { severalCpus, VENDORS } from "../support/machines.ts";

// Waking vector 12345H, to which a real-mode program is copied; an alarm each second; RTC_EN; SLP_TYP 1 with SLP_EN; ud2.
const suspending = (registerB: string) =>
	`c704254c000e0045230100488d3543000000bf45230100b923000000fcf3a4b001e670b0c0e671b003e670b0c0e671b005e670b0c0e671b00be670b0${registerB}e67166ba020666b8000466ef66ba040666b8002466ef0f0b` +
	// Reads PM1 status, and clears it; reads register C; exits with their XOR and CS's low byte.
	"ba0006ed89c3ba0006b80084efed08e07510b00ce670e47130f830d88cc930c8e6f4f4";

describe.each(VENDORS)("S3 on %s", (vendor) => {
	test("the RTC's alarm wakes the machine in real mode at the waking vector, with RTC_STS and WAK_STS set", () => {
		const { machine, vmm } = severalCpus({ vendor, vcpus: 1, code: suspending("22") });
		expect(vmm.run(10_000_000)).toEqual({ kind: "exit", code: 0xa0 ^ 0x84 ^ 0x34 });
		// On the next whole second.
		const { cycles, model } = machine.cpu;
		expect(Math.floor((cycles / model.tscHz) * 1000)).toBe(1000);
	});

	test("without an alarm, nothing wakes it", () => {
		const { vmm } = severalCpus({ vendor, vcpus: 1, code: suspending("02") });
		expect(vmm.run(10_000_000)).toEqual({ kind: "halted" });
	});
});
