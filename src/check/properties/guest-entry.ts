/** Which ops enter a guest. A TD is entered by SEAMCALL, and so is the TDX module for everything else. */
import { OP } from "../../silicon/ops.ts";

/** VMLAUNCH, VMRESUME, VMRUN, SEAMCALL. */
export function isGuestEntry(op: number): boolean {
	return op === OP.vmresume || op === OP.vmlaunch || op === OP.vmrun || op === OP.seamcall;
}
