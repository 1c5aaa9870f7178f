/** Where native.c puts things. */
export const CODE = 0x100000;
export const WINDOW = 0x200000;
export const WINDOW_BYTES = 0x10000;
