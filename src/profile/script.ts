/** The lines of `perf script` for KVM's tracepoints (arch/x86/kvm/trace.h, v6.18). */
import type { TraceEvent } from "./tracepoints.ts";

const hex32 = (value: number) => `0x${(value >>> 0).toString(16).padStart(8, "0")}`;
const hex64 = (digits: string) => `0x${digits.padStart(16, "0")}`;

/** One event's text behind its name. */
function details(event: TraceEvent): string {
	if ("text" in event) return event.text;
	const { vcpu, rip, intrInfo, errorCode } = event;
	if (event.kind === "kvm_entry") {
		const forced = event.immediateExit === true ? "[immediate exit]" : "";
		return `vcpu ${vcpu}, rip 0x${rip} intr_info ${hex32(intrInfo)} error_code ${hex32(errorCode)}${forced}`;
	}
	return (
		`vcpu ${vcpu} reason ${event.reason} rip 0x${rip} info1 ${hex64(event.info1!)} info2 ${hex64(event.info2!)} ` +
		`intr_info ${hex32(intrInfo)} error_code ${hex32(errorCode)} requests 0x${(event.requests ?? 0).toString(16).padStart(16, "0")}`
	);
}

/**
 * All lines, in the order of time.
 * @param hz cycles a second: perf's timestamps are seconds
 */
export function scriptText(events: readonly TraceEvent[], hz: number): string {
	const inOrder = [...events].sort((a, b) => a.cycles - b.cycles);
	return inOrder
		.map((event) => {
			const comm = `CPU ${event.vcpu}/KVM`.padStart(15);
			const pid = String(1000 + event.vcpu).padStart(5);
			const seconds = (event.cycles / hz).toFixed(6).padStart(12);
			const name = `kvm:${event.kind}`;
			return `${comm} ${pid} [${String(event.cpu).padStart(3, "0")}] ${seconds}: ${name.padStart(20)}: ${details(event)}\n`;
		})
		.join("");
}
