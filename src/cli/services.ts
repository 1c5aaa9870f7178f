/** What the commands call below them; tests put something quicker in its place. */
import { runCheck } from "../check/check.ts";
import { measureCost } from "../review/cost.ts";
import { reviewTree } from "../review/review.ts";
import { runImage } from "../review/run.ts";

/** The instruments behind the commands. */
export const SERVICES = { runCheck, measureCost, reviewTree, runImage };

export type Services = typeof SERVICES;
