import { vmxOps } from "../vmx/ops.ts";
export const tdxOps = vmxOps;
