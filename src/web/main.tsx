/** The page's entry. */
import "./style/page.css";
import { render } from "preact";
import { App } from "./app.tsx";
import { followAddress } from "./state/app.ts";

render(<App />, document.getElementById("page")!);
void followAddress();
if (import.meta.env.PROD && "serviceWorker" in navigator) void navigator.serviceWorker.register("./sw.js");
