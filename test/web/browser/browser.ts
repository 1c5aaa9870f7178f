/** A real Chromium on the built page, from a server that knows nothing but files. */
import { createServer, type Server } from "node:http";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { extname, join, normalize } from "node:path";
import { type Browser, type BrowserContext, type Page, chromium } from "playwright-core";

/** Where the build is. */
export const BUILT = join(import.meta.dirname, "../../../build/web");
/** Where tests leave screenshots. */
export const SHOTS = join(import.meta.dirname, "../../../build/screenshots");

const CANDIDATES = [
	process.env.CHROMIUM,
	"/usr/bin/chromium",
	"/usr/bin/chromium-browser",
	"/usr/bin/google-chrome",
];

/** The browser's program, or undefined if this machine has none. */
export const CHROMIUM = CANDIDATES.find((path) => path !== undefined && existsSync(path));

/** How many want each core of this machine: where others work, everything takes as many times longer. At least 1. */
export const crowd = () => Math.max(1, loadavg()[0]! / availableParallelism());

const TYPES: Readonly<Record<string, string>> = {
	".html": "text/html",
	".js": "text/javascript",
	".css": "text/css",
	".wasm": "application/wasm",
	".svg": "image/svg+xml",
	".woff2": "font/woff2",
	".json": "application/json",
};

/** Serves a folder. */
function serveFolder(folder: string): Promise<{ readonly server: Server; readonly url: string }> {
	const server = createServer(({ url = "/" }, response) => {
		const path = normalize(decodeURIComponent(new URL(url, "http://host").pathname));
		const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
		if (!file.startsWith(folder) || !existsSync(file)) {
			response.writeHead(404).end();
			return;
		}
		response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
		response.end(readFileSync(file));
	});
	return new Promise((resolve) => {
		server.listen(0, "127.0.0.1", () => {
			const address = server.address();
			const port = typeof address === "object" && address !== null ? address.port : 0;
			resolve({ server, url: `http://127.0.0.1:${port}/` });
		});
	});
}

interface TraceEvent {
	readonly name: string;
	readonly pid: number;
	readonly tid: number;
	/** Microseconds of the thread's own time. */
	readonly tdur?: number;
	readonly args?: { readonly name?: string };
}

/** The browser, the server, and pages on it. */
export class Chromium {
	readonly url: string;
	readonly server: Server;
	private readonly browser: Browser;

	private constructor(browser: Browser, server: Server, url: string) {
		this.browser = browser;
		this.server = server;
		this.url = url;
	}

	/** Starts it. */
	static async start(): Promise<Chromium> {
		mkdirSync(SHOTS, { recursive: true });
		const { server, url } = await serveFolder(BUILT);
		const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
		return new Chromium(browser, server, url);
	}

	/** A page of its own profile. Errors on it fail whoever looks at `errors`. */
	async open(
		hash = "",
		options: Parameters<Browser["newContext"]>[0] = {},
	): Promise<{ readonly page: Page; readonly context: BrowserContext; readonly errors: string[] }> {
		const context = await this.browser.newContext({
			viewport: { width: 1280, height: 720 },
			reducedMotion: "reduce",
			...options,
		});
		const page = await context.newPage();
		const errors: string[] = [];
		page.on("pageerror", (error) => errors.push(error.message));
		page.on("console", (message) => {
			if (message.type() === "error") errors.push(message.text());
		});
		await page.goto(this.url + hash);
		return { page, context, errors };
	}

	/**
	 * The longest task of the page's thread while something is done, in milliseconds of that thread's own time: what others on
	 * this machine take from it does not count.
	 */
	async longestTaskMs(page: Page, act: () => Promise<void>): Promise<number> {
		await this.browser.startTracing(page, { categories: ["toplevel"] });
		await act();
		const { traceEvents } = JSON.parse((await this.browser.stopTracing()).toString()) as {
			traceEvents: TraceEvent[];
		};
		const thread = ({ pid, tid }: TraceEvent) => `${pid} ${tid}`;
		const pages = new Set(
			traceEvents
				.filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain")
				.map(thread),
		);
		const tasks = traceEvents.filter((one) => pages.has(thread(one)) && one.name.endsWith("RunTask"));
		const times = tasks.flatMap(({ tdur }) => tdur ?? []);
		if (times.length === 0) throw new Error("the trace has no tasks of the page's thread");
		return Math.max(...times) / 1000;
	}

	async stop(): Promise<void> {
		await this.browser.close();
		this.server.close();
	}
}
