/** Robust statistics of samples: what is reported is a median with a confidence interval that assumes no distribution. */

/** What is said of one set of samples. */
export interface Summary {
	readonly count: number;
	readonly median: number;
	/** 99th percentile. */
	readonly p99: number;
	readonly min: number;
	/** 95 % confidence interval of the median, by order statistics. */
	readonly low: number;
	readonly high: number;
}

const Z_95 = 1.959964;

/** The value below which a share of the sorted samples lies; linear between two of them. @param share 0 to 1 */
export function quantile(sorted: readonly number[], share: number): number {
	if (sorted.length === 0) throw new RangeError("no samples");
	const at = (sorted.length - 1) * share;
	const below = sorted[Math.floor(at)]!;
	const above = sorted[Math.ceil(at)]!;
	return below + (above - below) * (at - Math.floor(at));
}

/**
 * Summarizes samples. The interval is that of the order statistics around the median which the binomial
 * distribution, taken as normal, gives: rank n/2 ± 1.96 √n / 2 (Conover, Practical Nonparametric Statistics, 3.2).
 * @throws RangeError without samples
 */
export function summarize(samples: readonly number[]): Summary {
	const sorted = [...samples].sort((a, b) => a - b);
	const { length } = sorted;
	const half = (Z_95 * Math.sqrt(length)) / 2;
	const low = Math.max(0, Math.floor(length / 2 - half));
	const high = Math.min(length - 1, Math.ceil(length / 2 + half));
	return {
		count: length,
		median: quantile(sorted, 0.5),
		p99: quantile(sorted, 0.99),
		min: sorted[0]!,
		low: sorted[low]!,
		high: sorted[high]!,
	};
}
