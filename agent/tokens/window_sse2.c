#include "tokens/window.h"

#ifdef WINDOW_X86
#include <emmintrin.h>

/* Bytes from `last` - count + 1 to `last`: moved up so that they are the highest signed values. */
#define IN_RANGE(x, last, count) \
    _mm_cmpgt_epi8(_mm_add_epi8(x, _mm_set1_epi8((char)(127 - (last)))), _mm_set1_epi8((char)(127 - (count))))
#define MASK(x) ((uint64_t)(uint32_t)_mm_movemask_epi8(x) << i)

__attribute__((target("sse2"))) void window_blocks_sse2(struct window *w, size_t at, const uint8_t *p, size_t count,
                                                        bool split_case)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        struct block_masks m = { 0, 0, 0, 0, 0, 0 };
        for (unsigned i = 0; i < 64; i += 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
            __m128i newline = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('\n')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\r')));
            m.letter |= MASK(IN_RANGE(_mm_or_si128(x, _mm_set1_epi8(0x20)), 'z', 26));
            m.upper |= MASK(IN_RANGE(x, 'Z', 26));
            m.digit |= MASK(IN_RANGE(x, '9', 10));
            m.space |= MASK(_mm_or_si128(IN_RANGE(x, '\r', 5), _mm_cmpeq_epi8(x, _mm_set1_epi8(' '))));
            m.newline |= MASK(newline);
            m.high |= MASK(x);
        }
        window_put(w, at + b, &m, split_case);
    }
}
#endif
