/** The page's entry. */
import "./style/page.css";
import { render } from "preact";
import { App } from "./app.tsx";
import { followAddress } from "./state/app.ts";

/** Milliseconds that the first drawing waits at most for its fonts and for what the build has brought: nothing shifts then. */
const PATIENCE_MS = 300;
const FONTS = [
	"400 14px 'Plex Sans'",
	"600 14px 'Plex Sans'",
	"400 12px 'Plex Mono'",
	"600 12px 'Plex Mono'",
];

const ready = Promise.allSettled([followAddress(), ...FONTS.map((font) => document.fonts.load(font))]);
await Promise.race([ready, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
render(<App />, document.getElementById("page")!);
if (import.meta.env.PROD && "serviceWorker" in navigator) void navigator.serviceWorker.register("./sw.js");
