/* Looks for texts that are slow to count: climbs from random recipes to slower and slower ones. Without caches, in CPU time.
 *
 * A recipe is a few fragments and how they follow each other: in turn, or at random. Fragments are made of what has been slow before or may
 * be: tokens, tokens cut short or run together, rows of one sign, letters and marks of any script, digits, white space, emoji joined by ZWJ,
 * bytes that are not UTF-8.
 *
 * usage: bench_tokens_worst ENCODING SECONDS [SEED [PATH]]
 * One line for each climb: MB/s, the recipe as C strings. The text of the slowest is left in worst.<encoding>.bin in the working directory. */
#include "tokens/count.h"
#include "tokens/vocab.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FRAGMENTS = 6, FRAGMENT_MOST = 300, TEXT = 48 << 10, PATIENCE = 150 };

struct recipe {
    size_t count;
    bool random; /* the order of the fragments */
    bool json;   /* counted as a JSON string */
    uint8_t bytes[FRAGMENTS][FRAGMENT_MOST];
    size_t length[FRAGMENTS], times[FRAGMENTS];
};

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 32) * below >> 32);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- fragments --------------------------------------------------------------------------------------------------- */

static size_t put_character(uint8_t *out, uint32_t c)
{
    if (c < 0x80)
        return out[0] = (uint8_t)c, 1;
    if (c < 0x800)
        return out[0] = (uint8_t)(0xc0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return out[0] = (uint8_t)(0xe0 | c >> 12), out[1] = (uint8_t)(0x80 | (c >> 6 & 63)), out[2] = (uint8_t)(0x80 | (c & 63)), 3;
    out[0] = (uint8_t)(0xf0 | c >> 18);
    return out[1] = (uint8_t)(0x80 | (c >> 12 & 63)), out[2] = (uint8_t)(0x80 | (c >> 6 & 63)), out[3] = (uint8_t)(0x80 | (c & 63)), 4;
}

static size_t put_token(const struct vocab *v, uint8_t *out, uint32_t token)
{
    if (token >= 256) {
        size_t n = put_token(v, out, v->halves[token].left);
        return n + put_token(v, out + n, v->halves[token].right);
    }
    for (unsigned byte = 0; byte < 256; byte++)
        if (v->bytes[byte] == token)
            out[0] = (uint8_t)byte;
    return 1;
}

static uint32_t draw_token(const struct vocab *v)
{
    uint32_t token;
    do
        token = draw(v->tokens);
    while (vocab_length(v, token) == 0 || (vocab_length(v, token) < 8 && draw(3)));
    return token;
}

static uint32_t draw_character(void)
{
    static const struct { uint32_t from, count; } scripts[] = {
        { 'a', 26 }, { 'A', 26 }, { '0', 10 }, { '!', 15 }, { 0xc0, 400 }, { 0x300, 112 }, { 0x370, 140 }, { 0x400, 256 }, { 0x590, 96 },
        { 0x600, 256 }, { 0x900, 128 }, { 0xe00, 92 }, { 0xe31, 14 }, { 0xf00, 200 }, { 0x1000, 160 }, { 0x10a0, 96 }, { 0x13a0, 86 },
        { 0x1e00, 256 }, { 0x2000, 112 }, { 0x20a0, 60 }, { 0x2190, 1000 }, { 0x3040, 192 }, { 0x4e00, 20000 }, { 0xac00, 11172 },
        { 0xfb00, 500 }, { 0xfe00, 16 }, { 0xff00, 240 }, { 0x10000, 3000 }, { 0x1d400, 1000 }, { 0x1f1e6, 26 }, { 0x1f300, 1700 },
        { 0x20000, 4000 }, { 0xe0100, 240 }, { 0x660, 10 }, { 0xa0, 1 }, { 0x3000, 1 }, { 0x200d, 1 }, { '\'', 1 }, { '/', 1 }, { '\n', 1 }
    };
    uint32_t i = draw(sizeof scripts / sizeof *scripts);
    return scripts[i].from + draw(scripts[i].count);
}

/* At most 2 * VOCAB_MAX_TOKEN bytes. */
static size_t make_fragment(const struct vocab *v, uint8_t *out)
{
    static const char signs[] = "-=*/# \t\n\r_.~+'\"\\{}()<>,:;!?0aAzZ";
    size_t n = 0;
    uint32_t c, most;
    switch (draw(8)) {
    case 0:
        return put_token(v, out, draw_token(v));
    case 1: /* cut short */
        n = put_token(v, out, draw_token(v));
        return n > 2 ? n - 1 - draw(n < 5 ? 1 : 3) : n;
    case 2: /* without its beginning */
        n = put_token(v, out, draw_token(v));
        most = n > 2 ? 1 + draw(n < 5 ? 1 : 3) : 0;
        memmove(out, out + most, n - most);
        return n - most;
    case 3:
        n = put_token(v, out, draw_token(v));
        return n + put_token(v, out + n, draw_token(v));
    case 4:
        n = 1 + draw(16);
        memset(out, signs[draw(sizeof signs - 1)], n);
        return n;
    case 5: /* of one script */
        c = draw_character();
        for (most = 1 + draw(8); most > 0; most--)
            n += put_character(out + n, c + draw(8));
        return n;
    case 6: /* of all */
        for (most = 1 + draw(6); most > 0; most--)
            n += put_character(out + n, draw_character());
        return n;
    default:
        if (draw(4)) {
            n = put_character(out, 0x1f468 + draw(8));
            n += put_character(out + n, 0x200d);
            return n + put_character(out + n, 0x1f3fb + draw(5));
        }
        for (n = 0; n < 1 + draw(4); n++)
            out[n] = (uint8_t)draw(256);
        return n;
    }
}

static void renew(const struct vocab *v, struct recipe *r, size_t i)
{
    r->length[i] = make_fragment(v, r->bytes[i]);
    r->times[i] = draw(2) ? 1 : 1 + draw(draw(2) ? 5 : 200);
}

static struct recipe mutate(const struct vocab *v, struct recipe r)
{
    size_t i = draw((uint32_t)r.count), j = draw((uint32_t)r.count), n;
    uint8_t more[FRAGMENT_MOST];
    switch (draw(9)) {
    case 0:
        if (r.count < FRAGMENTS)
            renew(v, &r, r.count++);
        break;
    case 1:
        r.count--;
        memcpy(r.bytes[i], r.bytes[r.count], FRAGMENT_MOST);
        r.length[i] = r.length[r.count];
        r.times[i] = r.times[r.count];
        if (r.count == 0)
            renew(v, &r, r.count++);
        break;
    case 2:
        r.times[i] = 1 + draw(draw(2) ? 4 : 300);
        break;
    case 3:
        r.random = !r.random;
        break;
    case 4: /* one byte off an end */
        if (r.length[i] > 1) {
            r.length[i]--;
            if (draw(2))
                memmove(r.bytes[i], r.bytes[i] + 1, r.length[i]);
        }
        break;
    case 5: /* longer */
        n = make_fragment(v, more);
        if (r.length[i] + n <= FRAGMENT_MOST) {
            memcpy(r.bytes[i] + r.length[i], more, n);
            r.length[i] += n;
        }
        break;
    case 6:
        if (r.length[i] + r.length[j] <= FRAGMENT_MOST && i != j) {
            memcpy(r.bytes[i] + r.length[i], r.bytes[j], r.length[j]);
            r.length[i] += r.length[j];
        }
        break;
    case 7:
        r.json = !r.json;
        break;
    default:
        renew(v, &r, i);
        break;
    }
    return r;
}

/* ---- how slow ---------------------------------------------------------------------------------------------------- */

static size_t cook(const struct recipe *r, uint8_t *text)
{
    uint64_t kept = random_state;
    size_t n = 0;
    random_state = 1;
    for (size_t turn = 0;; turn++) {
        size_t i = r->random ? draw((uint32_t)r->count) : turn % r->count;
        for (size_t k = 0; k < r->times[i]; k++) {
            if (n + r->length[i] > TEXT) {
                random_state = kept;
                return n;
            }
            memcpy(text + n, r->bytes[i], r->length[i]);
            n += r->length[i];
        }
    }
}

/* Nanoseconds of CPU for each byte, the least of some runs. */
static double slowness(struct token_counter *c, const struct tokenizer *t, const struct recipe *r, uint8_t *text, int runs)
{
    double least = 1e9;
    size_t n = cook(r, text);
    while (runs-- > 0) {
        struct token_count count;
        double start = now();
        if (token_count_bytes(c, t, r->json ? TOKENS_OF_JSON_STRING : TOKENS_OF_TEXT, slice_make((const char *)text, n), &count) != 0)
            exit(1);
        double took = (now() - start) * 1e9 / (double)n;
        least = took < least ? took : least;
    }
    return least;
}

static void print_recipe(const struct recipe *r, double ns)
{
    printf("%6.1f MB/s%s%s:", 1e3 / ns, r->random ? ", at random" : "", r->json ? ", JSON" : "");
    for (size_t i = 0; i < r->count; i++) {
        printf(" %zu * \"", r->times[i]);
        for (size_t k = 0; k < r->length[i]; k++) {
            uint8_t b = r->bytes[i][k];
            printf(isprint(b) && b != '"' && b != '\\' ? "%c" : "\\%03o", b);
        }
        putchar('"');
    }
    putchar('\n');
    fflush(stdout);
}

static void keep(const char *encoding, const uint8_t *text, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "worst.%s.bin", encoding);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0)
        perror(path);
}

int main(int argc, char **argv)
{
    static uint8_t text[TEXT + 64];
    char why[512];
    if (argc < 3) {
        fputs("usage: bench_tokens_worst ENCODING SECONDS [SEED [PATH]]\n", stderr);
        return 2;
    }
    struct tokenizer_set *set = tokenizer_set_open(NULL, why, sizeof why);
    const struct tokenizer *t = set ? tokenizer_set_find(set, slice_cstr(argv[1])) : NULL;
    struct token_counter_options bare = { .force_path = argc > 4 ? argv[4] : NULL };
    struct token_counter *c = token_counter_new(&bare);
    if (!t || !c) {
        fprintf(stderr, "%s\n", set ? "no such encoding or path" : why);
        return 1;
    }
    random_state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    double worst = 0, stop = now() + strtod(argv[2], NULL);
    while (now() < stop) {
        struct recipe best = { .count = 1 + draw(3), .random = draw(2) };
        for (size_t i = 0; i < best.count; i++)
            renew(&t->vocab, &best, i);
        double slowest = slowness(c, t, &best, text, 2);
        for (int vain = 0; vain < PATIENCE && now() < stop; vain++) {
            struct recipe next = mutate(&t->vocab, best);
            double ns = slowness(c, t, &next, text, 2);
            /* Another look at what seems slower: the machine may have been. */
            if (ns > slowest * 1.02 && (ns = slowness(c, t, &next, text, 5)) > slowest * 1.02) {
                best = next;
                slowest = ns;
                vain = 0;
            }
        }
        slowest = slowness(c, t, &best, text, 9);
        print_recipe(&best, slowest);
        if (slowest > worst) {
            worst = slowest;
            keep(argv[1], text, cook(&best, text));
        }
    }
    token_counter_free(c);
    tokenizer_set_close(set);
    return 0;
}
