#include "route/route.h"

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0xe9846af9b1a615d);
    h ^= h >> 32;
    h *= UINT64_C(0xe9846af9b1a615d);
    return h ^ h >> 28;
}

/* Little-endian whatever the machine. */
static uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)p[i] << 8 * i;
    return v;
}

uint64_t route_hash(uint64_t seed, struct slice bytes)
{
    uint64_t h = mix(seed ^ bytes.n * UINT64_C(0x9e3779b97f4a7c15));
    size_t i = 0;

    for (; bytes.n - i >= 8; i += 8)
        h = mix(h ^ load(bytes.p + i, 8)) + UINT64_C(0x9e3779b97f4a7c15);
    return bytes.n > i ? mix(h ^ load(bytes.p + i, bytes.n - i)) : h;
}
