/** An edit that a patch file of the tests imports from beside it. */
import { type Edit, remove } from "reenter";

export const removesClgi: Edit = remove("clgi", "svm_vcpu_run");
