/** The patch file as text: to read, to change, to take away. */
import { useState } from "preact/hooks";
import { patchText, setPatch } from "../state/app.ts";
import { readDocument } from "./patch-document.ts";

/** Gives the browser a file to save. */
function download(name: string, text: string): void {
	const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
	const link = document.createElement("a");
	link.href = url;
	link.download = name;
	link.click();
	URL.revokeObjectURL(url);
}

/** A file's text becomes the patch. */
async function take(file: File | undefined): Promise<void> {
	if (file !== undefined) setPatch(await file.text());
}

/** The panel. */
export function PatchPanel() {
	const text = patchText.value;
	const [copied, setCopied] = useState(false);
	const name = `${readDocument(text)?.name ?? "patch"}.json`;
	return (
		<section aria-label="patch file">
			<h2>The patch file</h2>
			<textarea
				class="patch-text"
				aria-label="the patch file's text"
				spellcheck={false}
				rows={Math.min(18, Math.max(4, text.split("\n").length))}
				placeholder={'{ "name": "my-move", "base": "v6.18", "edits": [] }'}
				value={text}
				onChange={({ currentTarget }) =>
					setPatch(currentTarget.value.trim() === "" ? "" : currentTarget.value)
				}
			/>
			<div class="buttons">
				<button class="plain" type="button" disabled={text === ""} onClick={() => download(name, text)}>
					↓ {name}
				</button>
				<button
					class="plain"
					type="button"
					onClick={() => {
						void navigator.clipboard?.writeText(location.href).then(() => setCopied(true));
					}}
				>
					{copied ? "✔ link copied" : "copy a link to this"}
				</button>
				<label class="plain-file">
					open a patch file
					<input
						type="file"
						accept=".json,.jsonc"
						onChange={({ currentTarget }) => void take(currentTarget.files?.[0])}
					/>
				</label>
			</div>
			<p class="dim">
				On the command line: <code>reenter review --patch {name}</code>
			</p>
		</section>
	);
}
