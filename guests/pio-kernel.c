/* One read of the PIC's mask an iteration: a port that KVM serves itself. */
#define NAME "pio-kernel"
#define BODY inb(0x21)
#include "loop.h"
