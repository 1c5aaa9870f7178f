/* State that KVM swaps or keeps for a guest, besides XCR0, IA32_XSS and PKRU: each part if its flag is set. */
#pragma once
#include "guest.h"

/* Gives each register a value of this guest's own. */
void setup_state(const struct params *params);
/* Changes debug registers, XFD and AMX state, with an exit that the fastpath handles between write and read. */
int use_state(const struct params *params, u64 round);
/* Whether the registers hold what was set. 0, or EXIT_STATE_MISMATCH. */
int check_registers(const struct params *params);
