#include "tokens/window.h"

#ifdef WINDOW_NEON
#include <arm_neon.h>

#define IN_RANGE(x, first, count) vcltq_u8(vsubq_u8(x, vdupq_n_u8(first)), vdupq_n_u8(count))
#define EQUAL(x, c) vceqq_u8(x, vdupq_n_u8(c))

/* One bit for each of 64 bytes that are all ones or 0: three times neighbours are added, each with its own bit. */
static inline uint64_t bits_of(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d)
{
    static const uint8_t places[16] = { 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128 };
    const uint8x16_t place = vld1q_u8(places);
    uint8x16_t ab = vpaddq_u8(vandq_u8(a, place), vandq_u8(b, place)), cd = vpaddq_u8(vandq_u8(c, place), vandq_u8(d, place));
    uint8x16_t all = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

#define BITS(of) bits_of(of(x[0]), of(x[1]), of(x[2]), of(x[3]))
#define LETTER(x) IN_RANGE(vorrq_u8(x, vdupq_n_u8(0x20)), 'a', 26)
#define UPPER(x) IN_RANGE(x, 'A', 26)
#define DIGIT(x) IN_RANGE(x, '0', 10)
#define BLANK(x) EQUAL(x, ' ')
#define SPACE(x) IN_RANGE(x, '\t', 5)
#define NEWLINE(x) vorrq_u8(EQUAL(x, '\n'), EQUAL(x, '\r'))
#define QUOTE(x) EQUAL(x, '\'')
#define SLASH(x) EQUAL(x, '/')
#define HIGH(x) vcgeq_u8(x, vdupq_n_u8(0x80))

void window_blocks_neon(struct block_masks *masks, const uint8_t *p, size_t count)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        const uint8x16_t x[4] = { vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48) };
        uint64_t blank = BITS(BLANK);
        masks[b] = (struct block_masks){
            .letter = BITS(LETTER),
            .upper = BITS(UPPER),
            .digit = BITS(DIGIT),
            .space = BITS(SPACE) | blank,
            .newline = BITS(NEWLINE),
            .blank = blank,
            .quote = BITS(QUOTE),
            .slash = BITS(SLASH),
            .high = BITS(HIGH),
        };
    }
}
#endif
