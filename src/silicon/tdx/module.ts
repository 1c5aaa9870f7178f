export const TDX_MODULE_USER_RETURN_MSRS: readonly { field: number; value: bigint }[] = [];
