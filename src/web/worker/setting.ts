/** The machine of a question: the CPU model and the factors of its configuration, from what the page has of them. */
import {
	type Configuration,
	DEFAULT_CONFIGURATION,
	FACTOR_NAMES,
	type Factor,
	factorTitle,
	factorsOf,
	parseFactors,
} from "../../check/configuration.ts";
import { COST_FACTORS } from "../../review/cost.ts";
import { parseModelFile } from "../../silicon/models/model-file.ts";
import { MODELS, defaultModel, findModel } from "../../silicon/models/models.ts";
import type { CpuModel } from "../../silicon/models/model.ts";
import type { MachineView, Setting } from "./api.ts";

/** The name that messages give a model file. */
const MODEL_FILE = "the CPU model file";
/** A model file's text begins with this; a name does not. */
const isFile = (cpu: string) => cpu.trimStart().startsWith("{");

/** Models of files, each made once: what is kept by model is kept then. */
const files = new Map<string, CpuModel>();

function fromFile(text: string): CpuModel {
	let model = files.get(text);
	if (model === undefined) {
		let document: unknown;
		try {
			document = JSON.parse(text);
		} catch (error) {
			throw new Error(`${MODEL_FILE}: not JSON: ${error instanceof Error ? error.message : String(error)}`);
		}
		model = parseModelFile(document, MODEL_FILE, findModel);
		files.set(text, model);
	}
	return model;
}

/**
 * The CPU model of a setting; a vendor that it does not have gets its usual one.
 * @throws Error with one line if there is no such model, or the file is none
 */
export function modelOf({ vendor, cpu }: Setting): CpuModel {
	if (cpu === "") return defaultModel(vendor);
	const model = isFile(cpu) ? fromFile(cpu) : findModel(cpu);
	if (model === undefined) throw new Error(`no CPU model "${cpu}", only ${Object.keys(MODELS).join(", ")}`);
	return model.vendors.includes(vendor) ? model : defaultModel(vendor);
}

/**
 * The factors that a setting names, on its vendor and model.
 * @returns also those that the vendor or model does not have
 * @throws ConfigurationError for what is a factor or value nowhere
 */
export function namedFactors(setting: Setting): {
	readonly named: Partial<Configuration>;
	readonly without: readonly string[];
} {
	const model = modelOf(setting);
	const { vendor, configuration } = setting;
	const existing = new Set<string>(factorsOf(vendor, model).map(({ factor }) => factor));
	const parts = configuration === "" || configuration === "default" ? [] : configuration.split(",");
	const without = parts.filter((part) => {
		const [factor = ""] = part.split("=");
		return !existing.has(factor) && (FACTOR_NAMES as readonly string[]).includes(factor);
	});
	const fitting = parts.filter((part) => !without.includes(part));
	return { named: parseFactors(fitting.join(","), vendor, model), without };
}

/** The whole configuration of a setting: what it does not name is as usual. */
export function configurationOf(setting: Setting): Configuration {
	return { ...DEFAULT_CONFIGURATION, ...namedFactors(setting).named };
}

/** What the setting's machine is, and what there is to set. */
export function machineView(setting: Setting): MachineView {
	const model = modelOf(setting);
	const isInCost = (factor: Factor) => (COST_FACTORS as readonly string[]).includes(factor);
	return {
		cpu: model.name,
		title: model.title,
		factors: factorsOf(setting.vendor, model).map(({ factor, values }) => ({
			factor,
			title: factorTitle(factor),
			values,
			isInCost: isInCost(factor),
		})),
	};
}
