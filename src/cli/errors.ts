/** Errors that are whoever gave the input's to mend: one line each, exit code 2. */
import { ScheduleError } from "../check/schedule.ts";
import { ImageError } from "../guests/image.ts";
import { FlowError } from "../kvm/flow/errors.ts";
import { ProfileError } from "../profile/errors.ts";
import { ReviewError } from "../review/errors.ts";
import { UsageError } from "./io.ts";

/** Whether an error speaks to the user; any other is a defect of this program. */
export function isExpectedError(error: unknown): error is Error {
	return (
		error instanceof UsageError ||
		error instanceof FlowError ||
		error instanceof ReviewError ||
		error instanceof ScheduleError ||
		error instanceof ProfileError ||
		error instanceof ImageError
	);
}
