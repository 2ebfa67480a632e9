#include "tokens/scan.h"

/* One decoded character: its class and where the next one starts. */
struct character {
    enum char_class class;
    const uint8_t *next;
};

static inline struct character read_character(const struct vocab *v, const uint8_t *p)
{
    uint32_t c = p[0];
    if (c < 0x80)
        return (struct character){ vocab_class(v, c), p + 1 };
    if (c < 0xe0)
        return (struct character){ vocab_class(v, (c & 31) << 6 | (p[1] & 63)), p + 2 };
    if (c < 0xf0)
        return (struct character){ vocab_class(v, (c & 15) << 12 | (p[1] & 63u) << 6 | (p[2] & 63)), p + 3 };
    return (struct character){ vocab_class(v, (c & 7) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63)), p + 4 };
}

#define BIT(class) (1u << (class))
#define LETTERS (BIT(CHAR_UPPER) | BIT(CHAR_LOWER) | BIT(CHAR_LETTER))
#define SPACES (BIT(CHAR_SPACE) | BIT(CHAR_NEWLINE))
#define SYMBOLS (BIT(CHAR_OTHER) | BIT(CHAR_MARK))
/* The two character sets of o200k's word alternatives. */
#define HEADS (BIT(CHAR_UPPER) | BIT(CHAR_LETTER) | BIT(CHAR_MARK))
#define TAILS (BIT(CHAR_LOWER) | BIT(CHAR_LETTER) | BIT(CHAR_MARK))

static const uint8_t *skip(const struct vocab *v, const uint8_t *p, const uint8_t *end, unsigned set)
{
    while (p < end) {
        struct character c = read_character(v, p);
        if (!(BIT(c.class) & set))
            break;
        p = c.next;
    }
    return p;
}

/* White space from p on: up to and with the last line break if there is one (`breaks`), all of it at the end of the text, else
 * all but the last character unless that is the only one. */
static const uint8_t *scan_space(const struct vocab *v, const uint8_t *p, const uint8_t *end, bool breaks)
{
    const uint8_t *start = p, *last = p, *after_break = NULL;
    while (p < end) {
        struct character c = read_character(v, p);
        if (!(BIT(c.class) & SPACES))
            break;
        last = p;
        p = c.next;
        if (c.class == CHAR_NEWLINE)
            after_break = p;
    }
    if (breaks && after_break)
        return after_break;
    return p == end || last == start ? p : last;
}

static const uint8_t *scan_digits(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    for (int i = 0; i < 3 && p < end; i++) {
        struct character c = read_character(v, p);
        if (c.class != CHAR_NUMBER)
            break;
        p = c.next;
    }
    return p;
}

/* The word alternatives at p, without a prefix. `first`: only what the first alternative, HEADS* TAILS+, takes; the second,
 * HEADS+ TAILS*, then adds the words that are upper case alone. p when there is none. */
static const uint8_t *scan_o200k_word(const struct vocab *v, const uint8_t *p, const uint8_t *end, bool first)
{
    const uint8_t *at = p, *after_tail = p;
    while (at < end) {
        struct character c = read_character(v, at);
        if (c.class == CHAR_LOWER)
            return skip(v, at, end, TAILS);
        if (!(BIT(c.class) & HEADS))
            break;
        at = c.next;
        if (c.class != CHAR_UPPER)
            after_tail = at;
    }
    /* No lower case follows: the regular expression gives characters back until one may be a tail. */
    return after_tail > p || first ? after_tail : at;
}

static const uint8_t *scan_o200k(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    struct character c = read_character(v, p);
    const uint8_t *at;
    switch (c.class) {
    case CHAR_UPPER:
    case CHAR_LOWER:
    case CHAR_LETTER:
        return scan_contraction(scan_o200k_word(v, p, end, false), end, true);
    case CHAR_MARK:
        /* A mark may be the prefix of a word, but is itself a word before upper case alone. */
        at = scan_o200k_word(v, c.next, end, true);
        return scan_contraction(at, end, true);
    case CHAR_NUMBER:
        return scan_digits(v, p, end);
    case CHAR_NEWLINE:
        return scan_space(v, p, end, true);
    default:
        break;
    }
    at = scan_o200k_word(v, c.next, end, false);
    if (at > c.next)
        return scan_contraction(at, end, true);
    if (c.class == CHAR_OTHER || (*p == ' ' && c.next < end && read_character(v, c.next).class == CHAR_OTHER)) {
        at = skip(v, c.next, end, SYMBOLS);
        while (at < end && (*at == '\r' || *at == '\n' || *at == '/'))
            at++;
        return at;
    }
    return scan_space(v, p, end, true);
}

static const uint8_t *scan_cl100k(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *at = scan_contraction(p, end, true);
    if (at > p)
        return at;
    struct character c = read_character(v, p);
    if (BIT(c.class) & LETTERS)
        return skip(v, c.next, end, LETTERS);
    if (c.class == CHAR_NUMBER)
        return scan_digits(v, p, end);
    if (c.class == CHAR_NEWLINE)
        return scan_space(v, p, end, true);
    at = skip(v, c.next, end, LETTERS);
    if (at > c.next)
        return at;
    if (c.class != CHAR_SPACE || (*p == ' ' && c.next < end && BIT(read_character(v, c.next).class) & SYMBOLS)) {
        at = skip(v, c.next, end, SYMBOLS);
        while (at < end && (*at == '\r' || *at == '\n'))
            at++;
        return at;
    }
    return scan_space(v, p, end, true);
}

static const uint8_t *scan_gpt2(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *at = scan_contraction(p, end, false);
    if (at > p)
        return at;
    struct character c = read_character(v, p);
    if (*p == ' ' && c.next < end) {
        struct character second = read_character(v, c.next);
        if (!(BIT(second.class) & SPACES))
            c = second;
    }
    if (BIT(c.class) & LETTERS)
        return skip(v, c.next, end, LETTERS);
    if (c.class == CHAR_NUMBER)
        return skip(v, c.next, end, BIT(CHAR_NUMBER));
    if (BIT(c.class) & SYMBOLS)
        return skip(v, c.next, end, SYMBOLS);
    return scan_space(v, p, end, false);
}

const uint8_t *scan_slowly(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    switch (v->pattern) {
    case VOCAB_O200K:
        return scan_o200k(v, p, end);
    case VOCAB_CL100K:
        return scan_cl100k(v, p, end);
    default:
        return scan_gpt2(v, p, end);
    }
}
