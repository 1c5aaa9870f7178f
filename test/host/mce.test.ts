/** do_machine_check() before and after commit 5567d11c21a1, "x86/mce: Send #MC singal from task work" (Linux). */
import { describe, expect, it } from "vitest";
import { HostFault } from "../../src/host/errors.ts";
import { xsetbv } from "../../src/host/access.ts";
import { doMachineCheck, MCG_STATUS_MCIP } from "../../src/host/mce.ts";
import { PENDING } from "../../src/silicon/cpu/cpu.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import { OP } from "../../src/silicon/ops.ts";
import { bootHost, record } from "./host.ts";

const functions = (seen: readonly string[]) => seen.filter((name) => name.endsWith("()"));

describe("the handler that recovers in place", () => {
	it("goes do_machine_check, memory_failure, schedule, __switch_to", () => {
		const host = bootHost({ mceHandler: "schedule" });
		const seen = functions(record(host, () => doMachineCheck(host.kernel, true)));
		const told = ["do_machine_check()", "memory_failure()", "schedule()", "__switch_to()"];
		expect(seen.filter((name) => told.includes(name)).slice(0, 4)).toEqual(told);
		expect(host.kernel.current.taskWork).toEqual([]);
	});

	it("leaves interrupts off when they were off", () => {
		const { cpu, kernel } = bootHost({ mceHandler: "schedule" });
		kernel.localIrqDisable();
		doMachineCheck(kernel, true);
		expect(cpu.interruptFlag).toBe(false);
		kernel.localIrqEnable();
		doMachineCheck(kernel, true);
		expect(cpu.interruptFlag).toBe(true);
	});

	it("faults in the context switch while a guest's XCR0 is loaded (commit 1811d979c716)", () => {
		const { cpu, kernel } = bootHost({ mceHandler: "schedule" });
		kernel.localIrqDisable();
		xsetbv(cpu, 7);
		expect(() => doMachineCheck(kernel, true)).toThrow(HostFault);
	});
});

describe("the handler with task work", () => {
	it("switches nothing by itself: recovery waits for the return to user space", () => {
		const host = bootHost();
		const { cpu, kernel } = host;
		doMachineCheck(kernel, true);
		expect(cpu.opCounts[OP.switch_to]).toBe(0);
		expect(kernel.current.taskWork.map(({ name }) => name)).toEqual(["kill_me_maybe"]);
		const seen = functions(record(host, () => kernel.returnToUser(kernel.current)));
		expect(seen.slice(0, 4)).toEqual([
			"exit_to_user_mode_loop()",
			"kill_me_maybe()",
			"memory_failure()",
			"schedule()",
		]);
		expect(kernel.current.taskWork).toEqual([]);
	});

	it("does not mind a guest's XCR0, if the host's is back by then", () => {
		const { cpu, kernel } = bootHost();
		kernel.localIrqDisable();
		xsetbv(cpu, 7);
		doMachineCheck(kernel, true);
		xsetbv(cpu, kernel.xcr0);
		kernel.localIrqEnable();
		kernel.returnToUser(kernel.current);
		expect(cpu.opCounts[OP.switch_to]).toBe(2);
	});
});

describe.each(["schedule", "task-work"] as const)("%s", (mceHandler) => {
	it("recovers nothing when the kernel itself was hit", () => {
		const { cpu, kernel } = bootHost({ mceHandler });
		kernel.localIrqDisable();
		cpu.pending |= PENDING.machineCheck;
		cpu.poll();
		expect([kernel.machineChecks, cpu.opCounts[OP.switch_to], kernel.current.taskWork.length]).toEqual([
			1, 0, 0,
		]);
	});

	it("ends MCG_STATUS.MCIP, so that the next one is no shutdown", () => {
		const { cpu, kernel } = bootHost({ mceHandler });
		cpu.pending |= PENDING.machineCheck;
		cpu.poll();
		expect(cpu.read32(L.MCG_STATUS) & MCG_STATUS_MCIP).toBe(0);
		cpu.write32(L.MCG_STATUS, MCG_STATUS_MCIP);
		doMachineCheck(kernel, true);
		expect(cpu.read32(L.MCG_STATUS) & MCG_STATUS_MCIP).toBe(0);
	});
});
