#include "route/affinity.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { SLOTS = 65536, TICK_US = 4000000 };

/* Key's upper 32 bits, mark, time in ticks; 0: empty. */
struct affinity {
    _Atomic uint64_t slots[SLOTS];
};

struct affinity *affinity_new(void)
{
    return calloc(1, sizeof(struct affinity));
}

void affinity_free(struct affinity *a)
{
    free(a);
}

/* Never 0, so that no entry equals an empty slot; wraps after three days, when an old entry may live 5 minutes more. */
static uint16_t ticks(int64_t now_us)
{
    return (uint16_t)(now_us / TICK_US % 65535 + 1);
}

int affinity_get(const struct affinity *a, uint64_t key, int64_t now_us)
{
    uint64_t v = atomic_load_explicit(&a->slots[key % SLOTS], memory_order_relaxed);
    int age = (ticks(now_us) - (int)(v & 0xffff) + 65535) % 65535;

    if (v == 0 || v >> 32 != key >> 32 || age > AFFINITY_US / TICK_US)
        return -1;
    return (int)(v >> 16 & 0xffff);
}

void affinity_put(struct affinity *a, uint64_t key, uint16_t mark, int64_t now_us)
{
    uint64_t v = key >> 32 << 32 | (uint64_t)mark << 16 | ticks(now_us);
    atomic_store_explicit(&a->slots[key % SLOTS], v, memory_order_relaxed);
}
