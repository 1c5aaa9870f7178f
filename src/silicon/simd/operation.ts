/** The shape of a vector operation that is carried out in TypeScript. */
import type { Cpu } from "../cpu/cpu.ts";

/** Reads operands from the state block, writes VECTOR_RESULT; or notes a fault. */
export type VectorOperation = (cpu: Cpu, immediate: number) => void;
