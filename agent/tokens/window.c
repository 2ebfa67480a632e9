#include "tokens/window.h"

/* One bit for each mask; 0 for the other symbols. */
enum { LETTER = 1, UPPER = 2, DIGIT = 4, SPACE = 8, NEWLINE = 16, HIGH = 32, QUOTE = 64, SLASH = 128 };

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
    if (c == '\'' || c == '/')
        return c == '/' ? SLASH : QUOTE;
    return c == ' ' || (c >= '\t' && c <= '\r') ? SPACE : 0;
}

/* The lowest bit of each of the eight bytes of x, byte 0 (the lowest) first. */
static inline uint64_t gather(uint64_t x)
{
    return (x & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

void window_blocks_portable(struct block_masks *masks, const uint8_t *p, size_t count)
{
    for (size_t b = 0; b < count; b++, p += 64) {
        struct block_masks m = { .letter = 0 };
        for (unsigned i = 0; i < 64; i += 8) {
            uint64_t kinds = 0, blanks = 0;
            for (unsigned k = 0; k < 8; k++) {
                kinds |= (uint64_t)kinds_of(p[i + k]) << (8 * k);
                blanks |= (uint64_t)(p[i + k] == ' ') << k;
            }
            m.letter |= gather(kinds) << i;
            m.upper |= gather(kinds >> 1) << i;
            m.digit |= gather(kinds >> 2) << i;
            m.space |= gather(kinds >> 3) << i;
            m.newline |= gather(kinds >> 4) << i;
            m.high |= gather(kinds >> 5) << i;
            m.quote |= gather(kinds >> 6) << i;
            m.slash |= gather(kinds >> 7) << i;
            m.blank |= blanks << i;
        }
        masks[b] = m;
    }
}

window_blocks *window_choose(const char *path, const char **name)
{
#ifdef WINDOW_X86
    if ((!path || strcmp(path, "avx512") == 0) && __builtin_cpu_supports("avx512bw")) {
        *name = "avx512";
        return window_blocks_avx512;
    }
    if ((!path || strcmp(path, "avx2") == 0) && __builtin_cpu_supports("avx2")) {
        *name = "avx2";
        return window_blocks_avx2;
    }
    if ((!path || strcmp(path, "sse2") == 0) && __builtin_cpu_supports("sse2")) {
        *name = "sse2";
        return window_blocks_sse2;
    }
#endif
#ifdef WINDOW_NEON
    if (!path || strcmp(path, "neon") == 0) {
        *name = "neon";
        return window_blocks_neon;
    }
#endif
    if (!path || strcmp(path, "portable") == 0) {
        *name = "portable";
        return window_blocks_portable;
    }
    return NULL;
}

static void put_maps(struct window *w, const struct block_masks *m, size_t count, bool split_case)
{
    uint64_t last_lower = 0;
    for (size_t b = 0; b < count; b++, m++) {
        uint64_t lower = m->letter & ~m->upper, word_end = ~m->letter;
        if (split_case)
            word_end |= m->upper & (lower << 1 | last_lower);
        last_lower = lower >> 63;
        w->letter[b] = htole64(m->letter);
        w->word_end[b] = htole64(word_end);
        w->symbol_end[b] = htole64(m->letter | m->digit | m->space | m->high);
        w->digit[b] = htole64(m->digit);
        w->space[b] = htole64(m->space);
        w->newline[b] = htole64(m->newline);
    }
}

void window_move(struct window *w, window_blocks *blocks, const uint8_t *p, const uint8_t *end, enum vocab_pattern pattern)
{
    static const struct block_masks unknown = { .high = ~(uint64_t)0 };
    struct block_masks masks[WINDOW_BLOCKS + 3];
    size_t n = (size_t)(end - p) < WINDOW_BYTES ? (size_t)(end - p) : WINDOW_BYTES, count = n / 64;
    w->from = p;
    w->covered = n == WINDOW_BYTES ? n - 64 : n;
    blocks(masks, p, count);
    if (n < WINDOW_BYTES) {
        /* The rest, and one block more for what lies behind it. */
        uint8_t tail[128] = { 0 };
        if (n % 64)
            memcpy(tail, p + count * 64, n % 64);
        blocks(masks + count, tail, 2);
        count += 2;
    }
    put_maps(w, masks, count, pattern == VOCAB_O200K);
    if (pattern == VOCAB_GPT2)
        return;
    if (n < WINDOW_BYTES) {
        masks[count - 2].high |= ~(uint64_t)0 << (n % 64);
        masks[count - 1].high = ~(uint64_t)0;
    }
    masks[count] = unknown;
    window_starts(w, masks, count, pattern == VOCAB_O200K);
}
