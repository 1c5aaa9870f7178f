/** Style of the timeline's page: light and dark, details beside the picture where there is room. */

export const TIMELINE_STYLE = `
:root { color-scheme: light dark; --page: #ffffff; --text: #1b1f24; --soft: #57606a; --line: #d0d7de; --grid: #eaeef2; --panel: #f6f8fa; --pick: #0b57d0;
 --function: #e8e2c4; --loop: #f3f0e0; --step: #cfe3f5; --op: #8fbfe8; --guest: #c9ead6; --instruction: #9fd8b7; --handler: #f6c6a8; --arrival: #b3261e; --violation: #b3261e;
 --band-guest: #d55e00; --band-host: #57606a; --band-off: #0072b2; --band-neither: #8a4b76; --ink: #14181d; }
@media (prefers-color-scheme: dark) {
:root { --page: #0f1318; --text: #e3e8ee; --soft: #a3adb8; --line: #3a434d; --grid: #20262d; --panel: #171c22; --pick: #8ab4f8;
 --function: #4a4530; --loop: #36331f; --step: #27435c; --op: #2f6c9c; --guest: #23533a; --instruction: #2f7a53; --handler: #7a4424; --arrival: #ff8a80; --violation: #ff8a80;
 --band-guest: #f08a3c; --band-host: #a3adb8; --band-off: #56b4e9; --band-neither: #cc79a7; --ink: #f2f5f8; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 12px 16px 40px; font: 14px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page); }
h1 { font-size: 18px; margin: 0 0 2px; } h2 { font-size: 14px; margin: 0 0 4px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; color: var(--soft); max-width: 75em; }
.bar { display: flex; flex-wrap: wrap; gap: 4px 6px; align-items: center; margin: 8px 0; }
.bar button { font: inherit; min-width: 32px; min-height: 28px; padding: 2px 8px; color: inherit; background: var(--panel); border: 1px solid var(--line); border-radius: 5px; cursor: pointer; }
.bar label { padding: 2px 6px; }
:focus-visible { outline: 3px solid var(--pick); outline-offset: 1px; }
.panes { display: grid; gap: 12px; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 1000px) { .panes { grid-template-columns: minmax(0, 1fr) 320px; } aside { position: sticky; top: 8px; max-height: calc(100vh - 16px); overflow: auto; } }
#app { position: relative; border: 1px solid var(--line); border-radius: 5px; touch-action: pan-y; user-select: none; }
#over { display: block; width: 100%; border-bottom: 1px solid var(--line); position: sticky; top: 0; background: var(--page); cursor: ew-resize; z-index: 1; }
#view { display: block; width: 100%; cursor: grab; }
#tip { position: absolute; z-index: 2; pointer-events: none; padding: 3px 7px; max-width: 420px; font: 12px/1.4 ui-monospace, monospace; background: var(--panel); color: var(--text); border: 1px solid var(--line); border-radius: 4px; white-space: pre-line; }
aside { align-self: start; padding: 10px 12px; background: var(--panel); border: 1px solid var(--line); border-radius: 5px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 8px 0; list-style: none; }
.legend svg { vertical-align: -3px; margin-right: 5px; }
table { border-collapse: collapse; font: 12px/1.45 ui-monospace, monospace; }
th, td { padding: 1px 10px 1px 0; text-align: left; font-weight: 400; vertical-align: top; } th, thead td { white-space: nowrap; } td { overflow-wrap: anywhere; } #steps td { overflow-wrap: normal; } #steps td:nth-child(5), #steps td:nth-child(2) { white-space: pre; } thead th, .changed th, .changed td { font-weight: 700; } .n { text-align: right; }
caption { text-align: left; font: 600 13px/1.6 system-ui, sans-serif; }
.scroll { max-height: 60vh; overflow: auto; margin-bottom: 14px; } kbd { border: 1px solid var(--line); border-radius: 3px; padding: 0 4px; font: 12px ui-monospace, monospace; }
summary { cursor: pointer; } [hidden] { display: none; }
`;
