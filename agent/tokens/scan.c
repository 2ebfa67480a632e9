#include "tokens/scan.h"

/* One decoded character: its class and where the next one starts. */
struct character {
    enum char_class class;
    const uint8_t *next;
};

static inline __attribute__((always_inline)) struct character read_character(const struct vocab *v, const uint8_t *p)
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

/* A run of characters is read in one go, or up to `stop` now and on from there in a later call, which comes through the same runs in the
 * same order. */
static inline struct scan_run run_begin(struct scan *s, const uint8_t *p)
{
    unsigned k = s->run++;
    return k < s->kept ? s->runs[k] : (struct scan_run){ p, p, NULL };
}

static inline void run_end(struct scan *s, const struct scan_run *r)
{
    s->runs[s->run - 1] = *r;
    if (r->at >= s->stop && r->at < s->end) {
        s->kept = s->run;
        s->more = true;
    }
}

static const uint8_t *skip(struct scan *s, const uint8_t *p, unsigned set)
{
    if (s->more)
        return p;
    struct scan_run r = run_begin(s, p);
    while (r.at < s->stop) {
        struct character c = read_character(s->v, r.at);
        if (!(BIT(c.class) & set))
            break;
        r.at = c.next;
    }
    run_end(s, &r);
    return r.at;
}

/* Line breaks, and slashes if they count as such. */
static const uint8_t *skip_breaks(struct scan *s, const uint8_t *p, bool slashes)
{
    if (s->more)
        return p;
    struct scan_run r = run_begin(s, p);
    r.at = scan_breaks(r.at, s->stop > r.at ? s->stop : r.at, slashes);
    run_end(s, &r);
    return r.at;
}

/* White space from p on: up to and with the last line break if there is one (`breaks`), all of it at the end of the text, else
 * all but the last character unless that is the only one. */
static const uint8_t *scan_space(struct scan *s, const uint8_t *p, bool breaks)
{
    if (s->more)
        return p;
    struct scan_run r = run_begin(s, p); /* `last` is the last character; `kept` the end of the last line break */
    while (r.at < s->stop) {
        struct character c = read_character(s->v, r.at);
        if (!(BIT(c.class) & SPACES))
            break;
        r.last = r.at;
        r.at = c.next;
        if (c.class == CHAR_NEWLINE)
            r.kept = r.at;
    }
    run_end(s, &r);
    if (breaks && r.kept)
        return r.kept;
    return r.at == s->end || r.last == p ? r.at : r.last;
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
static const uint8_t *scan_o200k_word(struct scan *s, const uint8_t *p, bool first)
{
    struct scan_run r = run_begin(s, p); /* `kept` is the end of the last character that may be a tail */
    bool lower = false;
    while (r.at < s->stop) {
        struct character c = read_character(s->v, r.at);
        lower = c.class == CHAR_LOWER;
        if (!(BIT(c.class) & HEADS))
            break;
        r.at = c.next;
        if (c.class != CHAR_UPPER)
            r.kept = r.at;
    }
    run_end(s, &r);
    if (lower)
        return skip(s, r.at, TAILS);
    /* No lower case follows: the regular expression gives characters back until one may be a tail. */
    return r.kept ? r.kept : first ? p : r.at;
}

static const uint8_t *scan_o200k(struct scan *s, const uint8_t *p)
{
    const struct vocab *v = s->v;
    const uint8_t *end = s->end;
    struct character c = read_character(v, p);
    const uint8_t *at;
    switch (c.class) {
    case CHAR_UPPER:
    case CHAR_LOWER:
    case CHAR_LETTER:
        return scan_contraction(scan_o200k_word(s, p, false), end, true);
    case CHAR_MARK:
        /* A mark may be the prefix of a word, but is itself a word before upper case alone. */
        at = scan_o200k_word(s, c.next, true);
        return scan_contraction(at, end, true);
    case CHAR_NUMBER:
        return scan_digits(v, p, end);
    case CHAR_NEWLINE:
        return scan_space(s, p, true);
    default:
        break;
    }
    at = scan_o200k_word(s, c.next, false);
    if (at > c.next)
        return scan_contraction(at, end, true);
    if (c.class == CHAR_OTHER || (*p == ' ' && c.next < end && read_character(v, c.next).class == CHAR_OTHER))
        return skip_breaks(s, skip(s, c.next, SYMBOLS), true);
    return scan_space(s, p, true);
}

static const uint8_t *scan_cl100k(struct scan *s, const uint8_t *p)
{
    const struct vocab *v = s->v;
    const uint8_t *end = s->end;
    const uint8_t *at = scan_contraction(p, end, true);
    if (at > p)
        return at;
    struct character c = read_character(v, p);
    if (BIT(c.class) & LETTERS)
        return skip(s, c.next, LETTERS);
    if (c.class == CHAR_NUMBER)
        return scan_digits(v, p, end);
    if (c.class == CHAR_NEWLINE)
        return scan_space(s, p, true);
    at = skip(s, c.next, LETTERS);
    if (at > c.next)
        return at;
    if (c.class != CHAR_SPACE || (*p == ' ' && c.next < end && BIT(read_character(v, c.next).class) & SYMBOLS))
        return skip_breaks(s, skip(s, c.next, SYMBOLS), false);
    return scan_space(s, p, true);
}

static const uint8_t *scan_gpt2(struct scan *s, const uint8_t *p)
{
    const struct vocab *v = s->v;
    const uint8_t *end = s->end;
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
        return skip(s, c.next, LETTERS);
    if (c.class == CHAR_NUMBER)
        return skip(s, c.next, BIT(CHAR_NUMBER));
    if (BIT(c.class) & SYMBOLS)
        return skip(s, c.next, SYMBOLS);
    return scan_space(s, p, false);
}

/* Letters from p on, o200k's as in scan_o200k_word. p when there are none, NULL when they go on to `far`. */
static inline __attribute__((always_inline)) const uint8_t *word_end(const struct vocab *v, const uint8_t *p, const uint8_t *far, bool o200k)
{
    const unsigned heads = o200k ? HEADS : LETTERS;
    const uint8_t *kept = NULL;
    struct character c = read_character(v, p);
    while (BIT(c.class) & heads) {
        p = c.next;
        kept = c.class != CHAR_UPPER ? p : kept;
        if (p >= far)
            return NULL;
        c = read_character(v, p);
    }
    if (!o200k)
        return p;
    if (c.class != CHAR_LOWER)
        return kept ? kept : p;
    do {
        p = c.next;
        if (p >= far)
            return NULL;
        c = read_character(v, p);
    } while (BIT(c.class) & TAILS);
    return p;
}

const uint8_t *scan_word(const struct vocab *v, const uint8_t *p, const uint8_t *end)
{
    const bool o200k = v->pattern == VOCAB_O200K;
    if (end - p < SCAN_WORD + 8 || *p == '\'')
        return NULL;
    struct character c = read_character(v, p);
    const uint8_t *from = BIT(c.class) & LETTERS ? p : c.next;
    if (BIT(c.class) & (BIT(CHAR_NUMBER) | BIT(CHAR_NEWLINE) | BIT(CHAR_MARK)))
        return NULL;
    if (!o200k)
        c.next = word_end(v, from, p + SCAN_WORD, false);
    else
        c.next = word_end(v, from, p + SCAN_WORD, true);
    if (c.next == from || !c.next)
        return NULL;
    return o200k ? scan_contraction(c.next, end, true) : c.next;
}

const uint8_t *scan_slowly(struct scan *s, const uint8_t *p)
{
    const uint8_t *next;
    s->run = 0;
    s->more = false;
    switch (s->v->pattern) {
    case VOCAB_O200K:
        next = scan_o200k(s, p);
        break;
    case VOCAB_CL100K:
        next = scan_cl100k(s, p);
        break;
    default:
        next = scan_gpt2(s, p);
        break;
    }
    if (s->more)
        return NULL;
    s->kept = 0;
    return next;
}
