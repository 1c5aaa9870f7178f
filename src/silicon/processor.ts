/** Puts a processor together: state, paging, system instructions, and the translator that runs guest code on it. */
import { Cpu } from "./cpu/cpu.ts";
import { resetCpu } from "./cpu/modes.ts";
import { IMPLEMENTED_COMPONENTS } from "./cpu/state-components.ts";
import type { MachineMemory } from "./machine.ts";
import type { CpuModel } from "./models/model.ts";
import { type PortHandlers, setPortHandlers } from "./system/io.ts";
import { processorServices } from "./system/services.ts";
import { Translator } from "./translate/translator.ts";

/** One translator per machine: what one processor translated, the others run as well. */
const translators = new WeakMap<MachineMemory, Translator>();

/** The translator of a machine, for those who look at what it made or limit how much it keeps. @throws RangeError if it has no processor */
export function translatorOf(memory: MachineMemory): Translator {
	const translator = translators.get(memory);
	if (translator === undefined) throw new RangeError("this memory has no processor yet");
	return translator;
}

export interface ProcessorOptions {
	/** What IN and OUT reach when no hypervisor intercepts them. */
	readonly ports?: PortHandlers;
}

/**
 * Makes a logical processor in its power-on state.
 * @param memory the machine; `index` names one of its state areas
 * @param model all processors of one machine have the same
 * @param index 0-based; also the APIC id
 * @throws RangeError if the model asks for state components that this machine does not implement
 */
export function createProcessor(
	memory: MachineMemory,
	model: CpuModel,
	index = 0,
	options: ProcessorOptions = {},
): Cpu {
	const { xcr0, xss, xfd } = model.features;
	const missing = (xcr0 | xss | xfd) & ~IMPLEMENTED_COMPONENTS;
	if (missing !== 0)
		throw new RangeError(`${model.name}: no state components for bits ${missing.toString(16)}h`);
	const cpu = new Cpu(memory, model, index);
	resetCpu(cpu);
	let translator = translators.get(memory);
	if (translator === undefined) {
		translator = new Translator(memory, model, processorServices);
		translators.set(memory, translator);
	}
	const shared = translator;
	cpu.execute = (running) => shared.execute(running);
	cpu.executeOne = (running) => shared.executeOne(running);
	if (options.ports !== undefined) setPortHandlers(cpu, options.ports);
	return cpu;
}
