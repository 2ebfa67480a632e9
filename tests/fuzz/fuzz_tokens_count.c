/* Counting against itself and against the definition: every code path, with and without caches, whole and in slices, must give
 * the number that a literal reading of the regular expressions and of byte-pair encoding gives.
 *
 * Input: one byte (encoding, kind of input), then the text. */
#include "tokens/count.h"
#include "tokens/text.h"
#include "tokens/vocab.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LONGEST 3000
#define COUNTERS 8

/* ---- the definition, as slow as it is simple --------------------------------------------------------------------- */

struct naive {
    const struct vocab *v;
    uint8_t class[LONGEST];
    uint32_t code[LONGEST];
    size_t at[LONGEST + 1]; /* byte offset of each character */
    size_t n;
};

static void naive_read(struct naive *x, const uint8_t *p, size_t bytes)
{
    x->n = 0;
    for (size_t i = 0; i < bytes;) {
        bool valid;
        size_t length = text_sequence(p + i, p + bytes, &valid);
        if (!valid)
            abort();
        uint32_t c = length == 1 ? p[i] : p[i] & (0x7fu >> length);
        for (size_t k = 1; k < length; k++)
            c = c << 6 | (p[i + k] & 63);
        x->at[x->n] = i;
        x->code[x->n] = c;
        x->class[x->n++] = (uint8_t)vocab_class(x->v, c);
        i += length;
    }
    x->at[x->n] = bytes;
}

#define BIT(c) (1u << (c))
#define L (BIT(CHAR_UPPER) | BIT(CHAR_LOWER) | BIT(CHAR_LETTER))
#define N BIT(CHAR_NUMBER)
#define S (BIT(CHAR_SPACE) | BIT(CHAR_NEWLINE))
#define NL BIT(CHAR_NEWLINE)
#define HEAD (BIT(CHAR_UPPER) | BIT(CHAR_LETTER) | BIT(CHAR_MARK))
#define TAIL (BIT(CHAR_LOWER) | BIT(CHAR_LETTER) | BIT(CHAR_MARK))

static size_t run(const struct naive *x, size_t i, unsigned set)
{
    size_t from = i;
    while (i < x->n && (BIT(x->class[i]) & set))
        i++;
    return i - from;
}

static uint32_t fold(uint32_t c)
{
    return c == 0x17f ? 's' : c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static size_t contraction(const struct naive *x, size_t i, bool any_case)
{
    static const char *const endings[] = { "s", "t", "re", "ve", "m", "ll", "d" };
    if (i >= x->n || x->code[i] != '\'')
        return 0;
    for (size_t e = 0; e < 7; e++) {
        size_t k = 0;
        while (endings[e][k] && i + 1 + k < x->n &&
               (any_case ? fold(x->code[i + 1 + k]) : x->code[i + 1 + k]) == (uint8_t)endings[e][k])
            k++;
        if (!endings[e][k])
            return k + 1;
    }
    return 0;
}

/* [^\r\n\p{L}\p{N}]? HEAD{least,} TAIL{least2,} contraction? */
static size_t naive_word(const struct naive *x, size_t i, size_t least, size_t least2)
{
    for (int prefix = 1; prefix >= 0; prefix--) {
        if (prefix && (BIT(x->class[i]) & (L | N | NL)))
            continue;
        size_t from = i + (size_t)prefix;
        for (size_t heads = run(x, from, HEAD) + 1; heads-- > least;) {
            size_t tails = run(x, from + heads, TAIL);
            if (tails >= least2) {
                size_t end = from + heads + tails;
                return end + contraction(x, end, true) - i;
            }
        }
    }
    return 0;
}

static size_t naive_space(const struct naive *x, size_t i, bool breaks)
{
    size_t n = run(x, i, S);
    if (breaks)
        for (size_t k = n; k > 0; k--)
            if (x->class[i + k - 1] == CHAR_NEWLINE)
                return k;
    return i + n == x->n || n == 1 ? n : n - 1;
}

static size_t naive_symbols(const struct naive *x, size_t i, bool slash, bool breaks)
{
    size_t space = x->code[i] == ' ';
    size_t n = run(x, i + space, ~(S | L | N));
    if (n == 0)
        return 0;
    n += space;
    while (breaks && i + n < x->n && (x->class[i + n] == CHAR_NEWLINE || (slash && x->code[i + n] == '/')))
        n++;
    return n;
}

static size_t naive_piece(const struct naive *x, size_t i)
{
    size_t n, digits;
    if (x->v->pattern == VOCAB_GPT2) {
        static const unsigned sets[] = { L, N };
        if ((n = contraction(x, i, false)) > 0)
            return n;
        for (int k = 0; k < 2; k++) {
            size_t space = x->code[i] == ' ';
            if ((n = run(x, i + space, sets[k])) > 0)
                return n + space;
        }
        return (n = naive_symbols(x, i, false, false)) > 0 ? n : naive_space(x, i, false);
    }
    if (x->v->pattern == VOCAB_O200K) {
        if ((n = naive_word(x, i, 0, 1)) > 0 || (n = naive_word(x, i, 1, 0)) > 0)
            return n;
    } else {
        size_t prefix = !(BIT(x->class[i]) & (L | N | NL));
        if ((n = contraction(x, i, true)) > 0)
            return n;
        if ((n = run(x, i + prefix, L)) > 0)
            return n + prefix;
    }
    if ((digits = run(x, i, N)) > 0)
        return digits < 3 ? digits : 3;
    if ((n = naive_symbols(x, i, x->v->pattern == VOCAB_O200K, true)) > 0)
        return n;
    return naive_space(x, i, true);
}

static int64_t naive_merge(const struct vocab *v, const uint8_t *p, size_t n)
{
    uint32_t ids[LONGEST * 4];
    for (size_t i = 0; i < n; i++)
        ids[i] = v->bytes[p[i]];
    for (;;) {
        uint32_t best = VOCAB_NONE;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            uint32_t joined = vocab_merge(v, ids[i], ids[i + 1]);
            if (joined < best) {
                best = joined;
                at = i;
            }
        }
        if (best == VOCAB_NONE)
            return (int64_t)n;
        ids[at] = best;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static int64_t naive_count(const struct vocab *v, const uint8_t *p, size_t bytes)
{
    static struct naive x;
    int64_t tokens = 0;
    x.v = v;
    naive_read(&x, p, bytes);
    for (size_t i = 0; i < x.n;) {
        size_t n = naive_piece(&x, i);
        if (n == 0)
            abort();
        tokens += naive_merge(v, p + x.at[i], x.at[i + n] - x.at[i]);
        i += n;
    }
    return tokens;
}

/* ---- the comparison ---------------------------------------------------------------------------------------------- */

static struct token_counter *counters[COUNTERS];
static struct tokenizer_set *set;

static void start(void)
{
    static const char *const paths[] = { "portable", "sse2", "avx2", "avx512", "neon" };
    char why[512];
    set = tokenizer_set_open(NULL, why, sizeof why);
    if (!set) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    for (int i = 0; i < COUNTERS / 2; i++) {
        struct token_counter_options bare = { .force_path = paths[i] }, cached = { 16384, 16384, paths[i] };
        counters[i * 2] = token_counter_new(&bare);
        counters[i * 2 + 1] = token_counter_new(&cached);
    }
}

/* What the definition says is counted: the decoded text. */
static int64_t expected(const struct tokenizer *t, enum token_input how, struct slice s, bool *replaced)
{
    struct text_source source;
    struct text_buffer buffer = { NULL, 0, 0 };
    text_source_start(&source, how, s);
    while (!text_source_step(&source, &buffer, 7)) {
    }
    *replaced = source.replaced;
    int64_t tokens = source.copying ? naive_count(&t->vocab, buffer.p, buffer.n) : naive_count(&t->vocab, source.p, source.n);
    text_buffer_free(&buffer);
    return tokens;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const encodings[] = { "o200k_base", "cl100k_base", "p50k_base", "r50k_base" };
    if (!set)
        start();
    if (size < 1 || size > LONGEST / 4)
        return 0;
    const struct tokenizer *t = tokenizer_set_find(set, slice_cstr(encodings[data[0] & 3]));
    enum token_input how = (enum token_input)((data[0] >> 2) % 3);
    struct slice s = slice_make((const char *)data + 1, size - 1);
    bool replaced;
    int64_t want = expected(t, how, s, &replaced);
    for (int i = 0; i < COUNTERS; i++) {
        struct token_count got, sliced;
        if (!counters[i])
            continue;
        for (int again = 0; again < 2; again++) {
            if (token_count_bytes(counters[i], t, how, s, &got) != 0 || got.tokens != want || got.replaced != replaced) {
                fprintf(stderr, "%s: %lld instead of %lld\n", token_counter_path(counters[i]), (long long)got.tokens,
                        (long long)want);
                abort();
            }
        }
        struct token_job *job = token_job_new(counters[i], t, how, s);
        while (token_job_step(job, 1, &sliced) == 0) {
        }
        token_job_free(job);
        if (sliced.tokens != want)
            abort();
    }
    return 0;
}
