#include "base/utf8.h"

#include <stdbool.h>

#ifdef __SSE2__
#include <emmintrin.h>

/* One bit for each byte of a block. `from_x`: x or above; `below_x`: 0x80 or above, but below x. */
struct bytes {
    uint64_t high, below_90, below_a0, below_c0, from_e0, from_f0, is_e0, is_ed, is_f0, is_f4, never, stop;
};

#define BITS(x) ((uint64_t)(uint32_t)_mm_movemask_epi8(x) << i)
#define EQUAL(x, c) _mm_cmpeq_epi8(x, _mm_set1_epi8((char)(c)))
#define BELOW(x, c) _mm_cmplt_epi8(x, _mm_set1_epi8((char)(c)))
#define ABOVE(x, c) _mm_cmpgt_epi8(x, _mm_set1_epi8((char)(c)))

static inline struct bytes read_bytes(const uint8_t *p, uint8_t stop, bool json)
{
    struct bytes b = { 0 };
    for (unsigned i = 0; i < 64; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        b.high |= BITS(x);
        b.below_90 |= BITS(BELOW(x, 0x90));
        b.below_a0 |= BITS(BELOW(x, 0xa0));
        b.below_c0 |= BITS(BELOW(x, 0xc0));
        b.from_e0 |= BITS(ABOVE(x, 0xdf));
        b.from_f0 |= BITS(ABOVE(x, 0xef));
        b.is_e0 |= BITS(EQUAL(x, 0xe0));
        b.is_ed |= BITS(EQUAL(x, 0xed));
        b.is_f0 |= BITS(EQUAL(x, 0xf0));
        b.is_f4 |= BITS(EQUAL(x, 0xf4));
        b.never |= BITS(_mm_or_si128(EQUAL(_mm_and_si128(x, _mm_set1_epi8((char)0xfe)), 0xc0), ABOVE(x, 0xf4)));
        b.stop |= BITS(EQUAL(x, stop));
        b.stop |= json ? BITS(_mm_or_si128(EQUAL(x, '"'), BELOW(x, 0x20))) : 0;
    }
    b.from_e0 &= b.high;
    b.from_f0 &= b.high;
    b.never &= b.high;
    b.stop &= ~b.high; /* which are below 0x20 as signed bytes */
    return b;
}

static inline unsigned first_bit(uint64_t x)
{
    return x ? (unsigned)__builtin_ctzll(x) : 64;
}

static inline __attribute__((always_inline)) size_t blocks(const uint8_t *p, const uint8_t *end, uint8_t stop, bool json)
{
    const uint8_t *start = p;
    while (end - p >= 64) {
        const struct bytes b = read_bytes(p, stop, json);
        uint64_t lead = b.high & ~b.below_c0, follows = lead << 1 | b.from_e0 << 2 | b.from_f0 << 3;
        uint64_t wrong = (follows ^ b.below_c0) | b.never | (b.is_e0 << 1 & b.below_a0) | (b.is_f0 << 1 & b.below_90) |
                         (b.is_ed << 1 & ~b.below_a0) | (b.is_f4 << 1 & ~b.below_90);
        uint64_t cut = (lead & (uint64_t)1 << 63) | (b.from_e0 & (uint64_t)3 << 62) | (b.from_f0 & (uint64_t)7 << 61);
        unsigned n = first_bit(cut | b.stop), error = first_bit(wrong);
        if (error < 64 && error <= n) { /* at n itself: what is missing there belongs to the character before */
            /* Back to where the character before starts: it may be the one that is not whole. */
            uint64_t starts = ~b.below_c0 & (((uint64_t)1 << error) - 1);
            return (size_t)(p - start) + (starts ? 63 - (unsigned)__builtin_clzll(starts) : 0);
        }
        p += n;
        if (n < 61)
            break;
    }
    return (size_t)(p - start);
}

size_t utf8_blocks(const uint8_t *p, const uint8_t *end, uint8_t stop)
{
    return blocks(p, end, stop, false);
}

size_t utf8_json_blocks(const uint8_t *p, const uint8_t *end)
{
    return blocks(p, end, '\\', true);
}

#else

size_t utf8_blocks(const uint8_t *p, const uint8_t *end, uint8_t stop)
{
    (void)p, (void)end, (void)stop;
    return 0;
}
size_t utf8_json_blocks(const uint8_t *p, const uint8_t *end)
{
    (void)p, (void)end;
    return 0;
}
#endif
