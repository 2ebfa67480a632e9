/* The starts of pieces, 64 bytes at a time, without a branch on what they hold.
 *
 * A piece of o200k or cl100k in ASCII starts where a few bytes before and behind say so, but for some rare cases, and next to longer
 * characters. Bytes where such a case may matter are marked unsure; a start may be wrong only where every piece that ends there holds, or
 * is followed by, an unsure byte. The scanner then finds the piece in its own way, and takes up the starts again behind it. */
#include "tokens/window.h"

/* What the block before says about the first bytes of this one. */
struct carried {
    uint64_t letter, lower, digit, space, blank, plain_space, newline, symbol, lone, high; /* its last byte, as bit 0 */
    uint64_t swallowed, maybe_swallowed, unsure_symbol, unsure_digit, indent;             /* a run reaches its end, likewise */
    unsigned digits;                                                                       /* bytes since the last start among digits */
};

/* All bits of the runs of `set` in which a bit of `from` is the first. */
static inline uint64_t runs_from(uint64_t set, uint64_t from)
{
    return set & ~(set + from);
}

static inline uint64_t behind(uint64_t set, uint64_t carried)
{
    return set << 1 | carried;
}

/* Digits go by threes. */
static inline uint64_t digit_starts(uint64_t digit, const struct carried *c)
{
    uint64_t starts = digit & ~behind(digit, c->digit), third = digit & digit << 1 & digit << 2;
    if (c->digit) {
        uint64_t up_to = ((uint64_t)2 << (3 - c->digits)) - 1;
        if ((digit & up_to) == up_to)
            starts |= (uint64_t)1 << (3 - c->digits);
    }
    for (uint64_t next = starts << 3 & third; next; next = next << 3 & third)
        starts |= next;
    return starts;
}

/* White space behind a line break that another one follows is part of the same piece: whether one does is seen at the end of the run,
 * which is too late for its beginning. `next`: the block behind. */
static inline bool break_follows(uint64_t indent, const struct block_masks *m, const struct block_masks *next, uint64_t carried)
{
    uint64_t plain = next->space & ~next->newline, first = ~plain & (plain + 1);
    if (behind(indent, carried) & (m->newline | m->high))
        return true;
    return indent >> 63 && (plain == ~(uint64_t)0 || (first & (next->newline | next->high)));
}

static inline void starts_of_block(struct window *w, size_t at, const struct block_masks *m, const struct block_masks *next,
                                   struct carried *c, bool o200k)
{
    const uint64_t letter = m->letter, digit = m->digit, space = m->space, newline = m->newline, high = m->high;
    const uint64_t plain = space & ~newline, symbol = ~(letter | digit | space | high), lower = letter & ~m->upper;
    const uint64_t after_symbol = behind(symbol, c->symbol), after_blank = behind(m->blank, c->blank);
    const uint64_t after_plain = behind(plain, c->plain_space), after_letter = behind(letter, c->letter);
    const uint64_t after_newline = behind(newline, c->newline), after_high = behind(high, c->high);
    /* Line breaks right behind symbols belong to them; o200k: and slashes behind those. */
    const uint64_t swallowed = runs_from(newline, newline & (after_symbol | c->swallowed));
    const uint64_t after_swallowed = behind(swallowed, c->swallowed);
    /* One symbol before a word belongs to the word, unless it belongs to a blank. */
    const uint64_t lone = symbol & ~after_symbol & ~after_blank, after_lone = behind(lone, c->lone);
    uint64_t inside = o200k ? after_letter & ~(m->upper & behind(lower, c->lower)) : after_letter;
    uint64_t digits = digit_starts(digit, c);
    uint64_t starts = (letter & ~inside & ~after_plain & ~after_lone) | digits | (symbol & ~after_symbol & ~after_blank) | high;
    starts |= plain & (~(space >> 1 | next->space << 63) | ~after_plain);
    starts |= newline & ~behind(space, c->space) & ~after_symbol;

    uint64_t unsure_digit = runs_from(digit, digit & (after_high | c->unsure_digit));
    uint64_t maybe_swallowed = runs_from(newline, newline & (after_high | c->maybe_swallowed));
    uint64_t unsure_symbol = 0;
    if (o200k) {
        uint64_t slash = m->slash & (after_swallowed | behind(maybe_swallowed, c->maybe_swallowed));
        unsure_symbol = runs_from(symbol, symbol & (slash | c->unsure_symbol));
    }
    uint64_t unsure = high | unsure_digit | unsure_symbol | (plain & (high >> 1 | next->high << 63));
    unsure |= o200k ? m->quote & after_letter : m->quote;
    uint64_t indent = runs_from(plain, plain & ((after_newline & ~after_swallowed) | c->indent));
    if (break_follows(indent, m, next, c->indent))
        unsure = ~(uint64_t)0;
    w->start[at] = starts;
    w->unsure[at] = unsure;

    if (digit >> 63)
        c->digits = (unsigned)__builtin_clzll(digits) + 1;
    c->letter = letter >> 63;
    c->lower = lower >> 63;
    c->digit = digit >> 63;
    c->space = space >> 63;
    c->blank = m->blank >> 63;
    c->plain_space = plain >> 63;
    c->newline = newline >> 63;
    c->symbol = symbol >> 63;
    c->lone = lone >> 63;
    c->high = high >> 63;
    c->swallowed = swallowed >> 63;
    c->maybe_swallowed = maybe_swallowed >> 63;
    c->unsure_symbol = unsure_symbol >> 63;
    c->unsure_digit = unsure_digit >> 63;
    c->indent = indent >> 63;
}

void window_starts(struct window *w, const struct block_masks *m, size_t count, bool o200k)
{
    struct carried c = { .digits = 0 };
    w->blocks = count;
    for (size_t b = 0; b < count; b++)
        starts_of_block(w, b, &m[b], &m[b + 1], &c, o200k);
}
