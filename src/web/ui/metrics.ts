/** Sizes that drawing and style sheet share. */

/** Height of a line of the path in pixels: `--line` of the style sheet. */
export const LINE_HEIGHT = 24;
