#include "tokens/window.h"

/* One bit for each map; 0 for symbols. */
enum { LETTER = 1, UPPER = 2, DIGIT = 4, SPACE = 8, NEWLINE = 16, HIGH = 32 };

static inline uint8_t kinds_of(uint8_t c)
{
    uint8_t folded = c | 0x20;
    if (c >= 0x80)
        return HIGH;
    if (folded >= 'a' && folded <= 'z')
        return folded == c ? LETTER : LETTER | UPPER;
    if (c >= '0' && c <= '9')
        return DIGIT;
    if (c == '\r' || c == '\n')
        return SPACE | NEWLINE;
    return c == ' ' || (c >= '\t' && c <= '\r') ? SPACE : 0;
}

/* The lowest bit of each of the eight bytes of x, byte 0 (the lowest) first. */
static inline uint64_t gather(uint64_t x)
{
    return (x & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

void window_blocks_portable(struct window *w, size_t at, const uint8_t *p, size_t count, bool split_case)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        struct block_masks m = { 0, 0, 0, 0, 0, 0 };
        for (unsigned i = 0; i < 64; i += 8) {
            uint64_t kinds = 0;
            for (unsigned k = 0; k < 8; k++)
                kinds |= (uint64_t)kinds_of(p[i + k]) << (8 * k);
            m.letter |= gather(kinds) << i;
            m.upper |= gather(kinds >> 1) << i;
            m.digit |= gather(kinds >> 2) << i;
            m.space |= gather(kinds >> 3) << i;
            m.newline |= gather(kinds >> 4) << i;
            m.high |= gather(kinds >> 5) << i;
        }
        window_put(w, at + b, &m, split_case);
    }
}

window_blocks *window_choose(const char *path, const char **name)
{
#ifdef WINDOW_X86
    if ((!path || strcmp(path, "avx2") == 0) && __builtin_cpu_supports("avx2")) {
        *name = "avx2";
        return window_blocks_avx2;
    }
    if ((!path || strcmp(path, "sse2") == 0) && __builtin_cpu_supports("sse2")) {
        *name = "sse2";
        return window_blocks_sse2;
    }
#endif
    if (!path || strcmp(path, "portable") == 0) {
        *name = "portable";
        return window_blocks_portable;
    }
    return NULL;
}

void window_move(struct window *w, window_blocks *blocks, const uint8_t *p, const uint8_t *end, bool split_case)
{
    size_t n = (size_t)(end - p) < WINDOW_BYTES ? (size_t)(end - p) : WINDOW_BYTES, whole = n / 64;
    w->from = p;
    w->last_lower = 0;
    blocks(w, 0, p, whole, split_case);
    if (n == WINDOW_BYTES) {
        w->covered = n - 64;
        return;
    }
    /* The rest, and one block more for what lies behind it. */
    uint8_t tail[128] = { 0 };
    if (n % 64)
        memcpy(tail, p + whole * 64, n % 64);
    blocks(w, whole, tail, 2, split_case);
    w->covered = n;
}
