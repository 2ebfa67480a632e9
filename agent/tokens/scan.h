/* Cutting text into the pieces that are encoded one by one. Internal to tokens/.
 *
 * Equal to the encodings' regular expressions (tiktoken_ext/openai_public.py) over Unicode 16.0, in time linear in the text:
 * no byte is looked at more than a few times, whatever stands around it. Text must be valid UTF-8.
 *
 * Pieces of ASCII are found in the window's bitmaps; those that touch a longer character, or are longer than a bitmap word
 * shows, character by character. */
#ifndef TOLLGATE_TOKENS_SCAN_H
#define TOLLGATE_TOKENS_SCAN_H

#include "tokens/vocab.h"
#include "tokens/window.h"

/* What has been seen of a run of characters of one kind. */
struct scan_run {
    const uint8_t *at;         /* the first character not looked at */
    const uint8_t *last, *kept;
};

#define SCAN_RUNS 3 /* of which a piece is made at most */

struct scan {
    const struct vocab *v;
    const uint8_t *end;  /* of the text; nothing there or behind is read */
    const uint8_t *stop; /* up to where this call may look, but for one character; at most `end` */
    unsigned run, kept;  /* `kept` runs of a piece that is not yet seen to its end; 0: none */
    bool more;
    struct scan_run runs[SCAN_RUNS];
};

/* How far the piece has been looked at that starts at p. */
static inline const uint8_t *scan_seen(const struct scan *s, const uint8_t *p)
{
    return s->kept ? s->runs[s->kept - 1].at : p;
}

/* The end of the piece that starts at p; p < end. NULL when `stop` came first: to be called again with the same p and a later stop. */
const uint8_t *scan_slowly(struct scan *s, const uint8_t *p);

/* The same for a word of o200k or cl100k, with what may stand before it, of up to SCAN_WORD bytes: most text beyond ASCII. NULL when there
 * is none, or when it must be found slowly. */
#define SCAN_WORD 60
const uint8_t *scan_word(const struct vocab *v, const uint8_t *p, const uint8_t *end);

/* Behind 's 't 're 've 'm 'll 'd at p, else p. Caseless matching folds U+017F (long s) to s, as the regular expression does. */
static inline const uint8_t *scan_contraction(const uint8_t *p, const uint8_t *end, bool any_case)
{
    if (end - p < 2 || p[0] != '\'')
        return p;
    uint8_t fold = any_case ? 0x20 : 0;
    uint8_t a = p[1] | fold;
    if (p[1] & 0x80)
        return any_case && end - p >= 3 && p[1] == 0xc5 && p[2] == 0xbf ? p + 3 : p;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return p + 2;
    if (end - p < 3 || (p[2] & 0x80))
        return p;
    uint8_t b = p[2] | fold;
    if ((b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l'))
        return p + 3;
    return p;
}

/* Line breaks, and slashes if they count as such, from p on. */
static inline const uint8_t *scan_breaks(const uint8_t *p, const uint8_t *end, bool slashes)
{
    while (p < end && (*p == '\n' || *p == '\r' || (slashes && *p == '/')))
        p++;
    return p;
}

/* What starts with white space and is no word: see scan_space in scan.c. NULL: to be found slowly. */
static inline const uint8_t *scan_blanks(const struct window *w, size_t at, const uint8_t *p, const uint8_t *end, bool breaks)
{
    uint64_t others = ~window_bits(w->space, at);
    size_t n = others ? (size_t)__builtin_ctzll(others) : 64;
    if (n >= WINDOW_SEEN - 1 || (size_t)(end - p) <= n || p[n] & 0x80)
        return NULL;
    uint64_t newlines = window_bits(w->newline, at) & (((uint64_t)1 << n) - 1);
    if (breaks && newlines)
        return p + 64 - __builtin_clzll(newlines);
    return n > 1 ? p + n - 1 : p + n;
}

/* The same as scan_slowly, for ASCII; NULL when the piece must be found slowly. The window covers p. */
static inline __attribute__((always_inline)) const uint8_t *scan_ascii(const struct window *w, enum vocab_pattern pattern,
                                                                       const uint8_t *p, const uint8_t *end)
{
    const bool o200k = pattern == VOCAB_O200K, gpt2 = pattern == VOCAB_GPT2;
    size_t at = (size_t)(p - w->from), n;
    uint64_t letters = window_bits(w->letter, at), digits = window_bits(w->digit, at), run;
    uint8_t c = *p;
    const uint8_t *q;
    if (!o200k && c == '\'') {
        q = scan_contraction(p, end, !gpt2);
        if (q > p)
            return q;
    }
    if (c & 0x80)
        return NULL;
    /* A word, with what may stand before it. */
    bool prefix = gpt2 ? c == ' ' : c != '\n' && c != '\r' && !(digits & 1);
    if ((letters & 1) | ((letters >> 1 & 1) & prefix)) {
        size_t start = ~letters & 1;
        run = window_bits(w->word_end, at) >> (start + 1);
        if (run == 0)
            return NULL;
        q = p + start + 1 + __builtin_ctzll(run);
        if (q == end)
            return q;
        if (*q & 0x80)
            return NULL;
        return o200k && *q == '\'' ? scan_contraction(q, end, true) : q;
    }
    if ((digits & 1) || (gpt2 && c == ' ' && (digits >> 1 & 1))) {
        size_t start = ~digits & 1;
        uint64_t others = ~(digits >> start);
        n = start + (others ? (size_t)__builtin_ctzll(others) : 64);
        if (!gpt2 && n > 3)
            n = 3;
        if (n >= WINDOW_SEEN - 1)
            return NULL;
        q = p + n;
        return q < end && (*q & 0x80) && (gpt2 || n < 3) ? NULL : q;
    }
    if (end - p > 1 && (p[1] & 0x80))
        return NULL;
    run = window_bits(w->symbol_end, at);
    if (!(run & 1) || (c == ' ' && !(run & 2) && end - p > 1)) {
        run >>= 1;
        if (run == 0)
            return NULL;
        n = 1 + (size_t)__builtin_ctzll(run);
        if (n >= (size_t)(end - p))
            return end;
        q = p + n;
        if (*q & 0x80)
            return NULL;
        if (gpt2)
            return q;
        const uint8_t *far = end - q > WINDOW_SEEN ? q + WINDOW_SEEN : end;
        q = scan_breaks(q, far, o200k);
        return q == far && far < end ? NULL : q;
    }
    return scan_blanks(w, at, p, end, !gpt2);
}

#endif
