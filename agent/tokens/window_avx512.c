#include "tokens/window.h"

#ifdef WINDOW_X86
#include <immintrin.h>

#define IN_RANGE(x, first, count) \
    _mm512_cmplt_epu8_mask(_mm512_sub_epi8(x, _mm512_set1_epi8(first)), _mm512_set1_epi8(count))
#define EQUAL(x, c) _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(c))

__attribute__((target("avx512bw"))) void window_blocks_avx512(struct block_masks *masks, const uint8_t *p, size_t count)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        __m512i x = _mm512_loadu_si512(p);
        uint64_t blank = EQUAL(x, ' ');
        masks[b] = (struct block_masks){
            .letter = IN_RANGE(_mm512_or_si512(x, _mm512_set1_epi8(0x20)), 'a', 26),
            .upper = IN_RANGE(x, 'A', 26),
            .digit = IN_RANGE(x, '0', 10),
            .space = IN_RANGE(x, '\t', 5) | blank,
            .newline = EQUAL(x, '\n') | EQUAL(x, '\r'),
            .blank = blank,
            .quote = EQUAL(x, '\''),
            .slash = EQUAL(x, '/'),
            .high = _mm512_movepi8_mask(x),
        };
    }
}
#endif
