import type { Cpu } from "../cpu/cpu.ts";
import type { TdVcpu } from "./td.ts";
export function tdhVpEnter(_cpu: Cpu, _td: TdVcpu, _regs: BigUint64Array): number { return -1; }
