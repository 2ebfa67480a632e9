#include "tokens/window.h"

#ifdef WINDOW_X86
#include <immintrin.h>

/* Bytes from `last` - count + 1 to `last`: moved up so that they are the highest signed values. */
#define IN_RANGE(x, last, count) \
    _mm256_cmpgt_epi8(_mm256_add_epi8(x, _mm256_set1_epi8((char)(127 - (last)))), _mm256_set1_epi8((char)(127 - (count))))
#define EQUAL(x, c) _mm256_cmpeq_epi8(x, _mm256_set1_epi8(c))
#define MASK(x) ((uint64_t)(uint32_t)_mm256_movemask_epi8(x) << i)

__attribute__((target("avx2"))) void window_blocks_avx2(struct block_masks *masks, const uint8_t *p, size_t count)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        struct block_masks m = { .letter = 0 };
        for (unsigned i = 0; i < 64; i += 32) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
            uint64_t blank = MASK(EQUAL(x, ' '));
            m.letter |= MASK(IN_RANGE(_mm256_or_si256(x, _mm256_set1_epi8(0x20)), 'z', 26));
            m.upper |= MASK(IN_RANGE(x, 'Z', 26));
            m.digit |= MASK(IN_RANGE(x, '9', 10));
            m.space |= MASK(IN_RANGE(x, '\r', 5)) | blank;
            m.newline |= MASK(_mm256_or_si256(EQUAL(x, '\n'), EQUAL(x, '\r')));
            m.blank |= blank;
            m.quote |= MASK(EQUAL(x, '\''));
            m.slash |= MASK(EQUAL(x, '/'));
            m.high |= MASK(x);
        }
        masks[b] = m;
    }
}
#endif
