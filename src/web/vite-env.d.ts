/// <reference types="vite/client" />

declare module "virtual:first-view" {
	/** null while the page is worked on. */
	export const firstView: import("./worker/api.ts").FirstView | null;
}
