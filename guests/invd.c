/* One INVD an iteration: KVM handles it in the fastpath. */
#define NAME "invd"
#define BODY invd()
#include "loop.h"
