/* One OUT an iteration, to a port that nobody claims: an exit to user space. */
#define NAME "pio"
#define BODY outb(PORT_UNCLAIMED, 0)
#include "loop.h"
