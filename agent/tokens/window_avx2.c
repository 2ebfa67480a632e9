#include "tokens/window.h"

#ifdef WINDOW_X86
#include <immintrin.h>

/* Bytes from `last` - count + 1 to `last`: moved up so that they are the highest signed values. */
#define IN_RANGE(x, last, count) \
    _mm256_cmpgt_epi8(_mm256_add_epi8(x, _mm256_set1_epi8((char)(127 - (last)))), _mm256_set1_epi8((char)(127 - (count))))
#define MASK(x) ((uint64_t)(uint32_t)_mm256_movemask_epi8(x) << i)

__attribute__((target("avx2"))) void window_blocks_avx2(struct window *w, size_t at, const uint8_t *p, size_t count,
                                                        bool split_case)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        struct block_masks m = { 0, 0, 0, 0, 0, 0 };
        for (unsigned i = 0; i < 64; i += 32) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
            __m256i newline = _mm256_or_si256(_mm256_cmpeq_epi8(x, _mm256_set1_epi8('\n')), _mm256_cmpeq_epi8(x, _mm256_set1_epi8('\r')));
            m.letter |= MASK(IN_RANGE(_mm256_or_si256(x, _mm256_set1_epi8(0x20)), 'z', 26));
            m.upper |= MASK(IN_RANGE(x, 'Z', 26));
            m.digit |= MASK(IN_RANGE(x, '9', 10));
            m.space |= MASK(_mm256_or_si256(IN_RANGE(x, '\r', 5), _mm256_cmpeq_epi8(x, _mm256_set1_epi8(' '))));
            m.newline |= MASK(newline);
            m.high |= MASK(x);
        }
        window_put(w, at + b, &m, split_case);
    }
}
#endif
