/** The page's side of the worker: questions as promises. */
import type { Answer, Engine, Request } from "../worker/api.ts";

interface Waiting {
	readonly resolve: (value: never) => void;
	readonly reject: (error: Error) => void;
}

/** What the engine said instead of an answer: one line for who asked. */
export class EngineError extends Error {
	override readonly name = "EngineError";
}

/** A question that another one of the same kind has overtaken. */
export class Overtaken extends Error {
	override readonly name = "Overtaken";
}

/** One worker. What is asked of it is answered in order. */
export class EngineClient {
	private worker: Worker | null = null;
	private readonly waiting = new Map<number, Waiting>();
	private lastId = 0;

	/** Asks. @throws EngineError through the promise */
	ask<K extends keyof Engine>(
		method: K,
		...[argument]: Parameters<Engine[K]>
	): Promise<ReturnType<Engine[K]>> {
		this.worker ??= this.start();
		const id = ++this.lastId;
		const request: Request = { id, method, argument };
		this.worker.postMessage(request);
		return new Promise((resolve, reject) => {
			this.waiting.set(id, { resolve, reject });
		});
	}

	private start(): Worker {
		const worker = new Worker(new URL("../worker/main.ts", import.meta.url), { type: "module" });
		worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
			const waiting = this.waiting.get(data.id);
			this.waiting.delete(data.id);
			if ("error" in data) waiting?.reject(new EngineError(data.error));
			else waiting?.resolve(data.value as never);
		});
		worker.addEventListener("error", ({ message }) => {
			for (const { reject } of this.waiting.values())
				reject(new EngineError(message || "the worker did not start"));
			this.waiting.clear();
		});
		return worker;
	}

	/** Drops everything that is not answered yet: its worker is stopped, and the next question starts another. */
	drop(): void {
		if (this.waiting.size === 0) return;
		this.worker?.terminate();
		this.worker = null;
		for (const { reject } of this.waiting.values()) reject(new Overtaken("overtaken"));
		this.waiting.clear();
	}
}
