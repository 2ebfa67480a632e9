#include "tokens/window.h"

#ifdef WINDOW_X86
#include <emmintrin.h>

/* Bytes from `last` - count + 1 to `last`: moved up so that they are the highest signed values. */
#define IN_RANGE(x, last, count) \
    _mm_cmpgt_epi8(_mm_add_epi8(x, _mm_set1_epi8((char)(127 - (last)))), _mm_set1_epi8((char)(127 - (count))))
#define EQUAL(x, c) _mm_cmpeq_epi8(x, _mm_set1_epi8(c))
#define MASK(x) ((uint64_t)(uint32_t)_mm_movemask_epi8(x) << i)

__attribute__((target("sse2"))) void window_blocks_sse2(struct block_masks *masks, const uint8_t *p, size_t count)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        struct block_masks m = { .letter = 0 };
        for (unsigned i = 0; i < 64; i += 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
            uint64_t blank = MASK(EQUAL(x, ' '));
            m.letter |= MASK(IN_RANGE(_mm_or_si128(x, _mm_set1_epi8(0x20)), 'z', 26));
            m.upper |= MASK(IN_RANGE(x, 'Z', 26));
            m.digit |= MASK(IN_RANGE(x, '9', 10));
            m.space |= MASK(IN_RANGE(x, '\r', 5)) | blank;
            m.newline |= MASK(_mm_or_si128(EQUAL(x, '\n'), EQUAL(x, '\r')));
            m.blank |= blank;
            m.quote |= MASK(EQUAL(x, '\''));
            m.slash |= MASK(EQUAL(x, '/'));
            m.high |= MASK(x);
        }
        masks[b] = m;
    }
}
#endif
