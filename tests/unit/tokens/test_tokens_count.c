#include "tokens/count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const paths[] = { "portable", "sse2", "avx2", "avx512", "neon" };

struct fixture {
    struct tokenizer_set *set;
    struct token_counter *counters[8]; /* every code path that runs here, without and with caches */
    size_t count;
};

static int setup(void **state)
{
    static struct fixture f;
    char why[512];
    f.set = tokenizer_set_open(NULL, why, sizeof why);
    if (!f.set)
        return -1;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct token_counter_options bare = { .force_path = paths[i] };
        struct token_counter_options cached = { 65536, 65536, paths[i] };
        struct token_counter *a = token_counter_new(&bare), *b = token_counter_new(&cached);
        if (a && b && strcmp(token_counter_path(a), paths[i]) == 0) {
            f.counters[f.count++] = a;
            f.counters[f.count++] = b;
        }
    }
    *state = &f;
    return f.count >= 2 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->count; i++)
        token_counter_free(f->counters[i]);
    tokenizer_set_close(f->set);
    return 0;
}

/* Counts with every counter, twice (the second time from the caches), whole and in slices; all must agree. The input ends where
 * its memory ends, so that reading on would be seen by the sanitizer. */
static int64_t count_of(struct fixture *f, const char *encoding, enum token_input how, struct slice s, bool *replaced)
{
    const struct tokenizer *t = tokenizer_set_find(f->set, slice_cstr(encoding));
    assert_non_null(t);
    char *copy = malloc(s.n ? s.n : 1);
    assert_non_null(copy);
    if (s.n)
        memcpy(copy, s.p, s.n);
    int64_t tokens = -1;
    for (size_t i = 0; i < f->count * 2; i++) {
        struct token_count c, sliced;
        struct slice input = slice_make(copy, s.n);
        assert_int_equal(token_count_bytes(f->counters[i / 2], t, how, input, &c), 0);
        struct token_job *job = token_job_new(f->counters[i / 2], t, how, input);
        assert_non_null(job);
        int done;
        while ((done = token_job_step(job, 1, &sliced)) == 0) {
        }
        assert_int_equal(done, 1);
        token_job_free(job);
        assert_int_equal(sliced.tokens, c.tokens);
        assert_int_equal(sliced.replaced, c.replaced);
        assert_true(tokens == -1 || tokens == c.tokens);
        tokens = c.tokens;
        *replaced = c.replaced;
    }
    free(copy);
    return tokens;
}

static int64_t text_count(struct fixture *f, const char *encoding, struct slice s)
{
    bool replaced;
    int64_t tokens = count_of(f, encoding, TOKENS_OF_TEXT, s, &replaced);
    assert_false(replaced);
    return tokens;
}

#define TEXT(s, o200k, cl100k, p50k, r50k) { SLICE_LIT(s), { o200k, cl100k, p50k, r50k } }

/* Counts of tiktoken 0.14. */
static const struct {
    struct slice text;
    int64_t tokens[4];
} known[] = {
    TEXT("", 0, 0, 0, 0),
    TEXT("hello world", 2, 2, 2, 2),
    TEXT("don't DON'T I'll we\342\200\231ve", 5, 8, 11, 11),
    TEXT("Don'\305\277t", 4, 5, 5, 5),
    TEXT("'\305\277", 2, 3, 3, 3),
    TEXT("camelCaseWords HTTPServer XMLHttpRequest", 7, 6, 9, 9),
    TEXT("  leading and trailing  ", 5, 5, 5, 6),
    TEXT("1 22 333 4444 1234567890", 13, 13, 9, 9),
    TEXT("a\n\n\n  b", 4, 4, 5, 5),
    TEXT("tabs\t\t\tand  \t spaces", 5, 5, 9, 10),
    TEXT("\r\n\r\n", 1, 1, 4, 4),
    TEXT("x = {'a': [1, 2], \"b\": None}\n    return x // y\n", 22, 22, 23, 25),
    TEXT("//////\n\n//", 3, 3, 5, 5),
    TEXT("https://example.com/a/b\?c=d&e=%20f", 13, 13, 19, 19),
    TEXT("\346\274\242\345\255\227A\346\274\242 \346\227\245\346\234\254\350\252\236\343\201\256\346\226\207\347\253\240\343\201\247\343\201\231\343\200\202", 10, 14, 24, 24),
    TEXT("\340\270\252\340\270\247\340\270\261\340\270\252\340\270\224\340\270\265\340\270\204\340\270\243\340\270\261\340\270\232", 5, 9, 20, 20),
    TEXT("\331\205\330\261\330\255\330\250\330\247 \330\250\330\247\331\204\330\271\330\247\331\204\331\205", 4, 10, 12, 12),
    TEXT("\320\237\321\200\320\270\320\262\320\265\321\202, \320\274\320\270\321\200!", 5, 7, 13, 13),
    TEXT("\360\237\230\200\360\237\221\250\342\200\215\360\237\221\251\342\200\215\360\237\221\247", 9, 15, 12, 12),
    TEXT("e\314\201 \314\201a !\314\201!\314\201 1\314\201", 12, 12, 16, 16),
    TEXT("\357\273\277", 1, 1, 3, 3),
    TEXT("\341\240\216\342\200\213", 4, 4, 4, 4),
    TEXT("\302\240\341\232\200\342\200\203x\343\200\200", 7, 8, 9, 9),
    TEXT("\302\205\342\200\250\342\200\251", 5, 6, 6, 6),
    TEXT("<|endoftext|><|fim_prefix|><|start|>", 16, 17, 18, 18),
    TEXT("\307\205\312\260\312\225\340\242\217", 9, 9, 9, 9),
    TEXT("\331\240\331\241\331\242\331\243 \302\275\342\205\247", 8, 12, 12, 12),
    TEXT("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 5, 5, 5, 5),
    TEXT("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbC", 13, 13, 25, 25),
    TEXT("supercalifragilisticexpialidocioussupercalifragilisticexpialidocioussupercalifragilisticexpialidocious", 30, 37, 33, 33),
    TEXT("00000000000000000000000000000000000000000000000000", 17, 17, 4, 4),
    TEXT("-----------------------------------------------------------------------------", 1, 2, 2, 2),
    TEXT("=\000\001\177", 4, 4, 4, 4),
    TEXT("\n   \n   ", 2, 2, 4, 8),
    TEXT("\303\211\303\211a\303\211", 4, 4, 4, 4),
    TEXT("ab\346\274\242CD", 3, 4, 5, 5),
    TEXT("'S'Re'LLx'd", 6, 6, 8, 8),
    TEXT("QmFzZTY0IGlzIG5vdCB0ZXh0IGJ1dCBpdCBsb29rcyBsaWtlIGl0", 35, 35, 36, 36),
};

static void test_known_texts(void **state)
{
    static const char *const encodings[] = { "o200k_base", "cl100k_base", "p50k_base", "r50k_base" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t e = 0; e < 4; e++) {
            int64_t got = text_count(*state, encodings[e], known[i].text);
            if (got != known[i].tokens[e])
                fail_msg("text %zu, %s: %lld instead of %lld", i, encodings[e], (long long)got, (long long)known[i].tokens[e]);
        }
}

static void test_json_strings(void **state)
{
    static const struct {
        struct slice raw, text;
        bool replaced;
    } cases[] = {
        { SLICE_LIT(""), SLICE_LIT(""), false },
        { SLICE_LIT("a\\nb"), SLICE_LIT("a\nb"), false },
        { SLICE_LIT("\\\"\\\\\\/\\b\\f\\n\\r\\t"), SLICE_LIT("\"\\/\b\f\n\r\t"), false },
        { SLICE_LIT("caf\\u00e9 \\u6f22\\ud83d\\ude00!"), SLICE_LIT("caf\xc3\xa9 \xe6\xbc\xa2\xf0\x9f\x98\x80!"), false },
        { SLICE_LIT("\\u0041\\u0000\\u007F\\u07ff\\uFFFD"), SLICE_LIT("A\0\x7f\xdf\xbf\xef\xbf\xbd"), false },
        { SLICE_LIT("\\ud83d"), SLICE_LIT("\xef\xbf\xbd"), true },
        { SLICE_LIT("\\ud83dx"), SLICE_LIT("\xef\xbf\xbdx"), true },
        { SLICE_LIT("\\ude00\\ud83d"), SLICE_LIT("\xef\xbf\xbd\xef\xbf\xbd"), true },
        { SLICE_LIT("\\ud83d\\ud83d\\ude00"), SLICE_LIT("\xef\xbf\xbd\xf0\x9f\x98\x80"), true },
        { SLICE_LIT("\\ud83d\\u0041"), SLICE_LIT("\xef\xbf\xbd" "A"), true },
        { SLICE_LIT("\\udbff\\udfff"), SLICE_LIT("\xf4\x8f\xbf\xbf"), false },
        { SLICE_LIT("end\\"), SLICE_LIT("end\\"), false },
        { SLICE_LIT("\\x \\u12 \\u12g4"), SLICE_LIT("\\x \\u12 \\u12g4"), false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool replaced;
        int64_t got = count_of(*state, "o200k_base", TOKENS_OF_JSON_STRING, cases[i].raw, &replaced);
        if (got != text_count(*state, "o200k_base", cases[i].text) || replaced != cases[i].replaced)
            fail_msg("JSON string %zu", i);
    }
}

static void test_json_values(void **state)
{
    static const struct {
        struct slice raw, text;
    } cases[] = {
        { SLICE_LIT(" { \"a b\" :\t[ 1 ,\r\n true ] } "), SLICE_LIT("{\"a b\":[1,true]}") },
        { SLICE_LIT("{\"q\\\" : x\" : \"\\\\\" , \"\\u00e9\": 1e5}"), SLICE_LIT("{\"q\\\" : x\":\"\\\\\",\"\\u00e9\":1e5}") },
        { SLICE_LIT("\"  kept  \xc3\xa9  \""), SLICE_LIT("\"  kept  \xc3\xa9  \"") },
        { SLICE_LIT("\xc3\xa9 \xc3\xa9"), SLICE_LIT("\xc3\xa9\xc3\xa9") },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool replaced;
        int64_t got = count_of(*state, "cl100k_base", TOKENS_OF_JSON_VALUE, cases[i].raw, &replaced);
        assert_false(replaced);
        if (got != text_count(*state, "cl100k_base", cases[i].text))
            fail_msg("JSON value %zu", i);
    }
}

/* Unicode 16, 3.9: U+FFFD substitution of maximal subparts; the examples are tables 3-8 to 3-11. */
static void test_bytes_that_are_not_utf8(void **state)
{
#define R "\xef\xbf\xbd"
    static const struct {
        struct slice bytes, text;
    } cases[] = {
        { SLICE_LIT("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82" "A"), SLICE_LIT(R R R R R R R R "A") },
        { SLICE_LIT("\xed\xa0\x80\xed\xbf\xbf\xed\xaf" "A"), SLICE_LIT(R R R R R R R R "A") },
        { SLICE_LIT("\xf4\x91\x92\x93\xff" "A\x80\xbf" "B"), SLICE_LIT(R R R R R "A" R R "B") },
        { SLICE_LIT("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf" "A"), SLICE_LIT(R R R R "A") },
        { SLICE_LIT("cut \xf0\x9f\x98"), SLICE_LIT("cut " R) },
        { SLICE_LIT("\xe2\x82"), SLICE_LIT(R) },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int how = TOKENS_OF_TEXT; how <= TOKENS_OF_JSON_VALUE; how++) {
            bool replaced;
            int64_t got = count_of(*state, "o200k_base", (enum token_input)how, cases[i].bytes, &replaced);
            bool spaces = how == TOKENS_OF_JSON_VALUE && memchr(cases[i].bytes.p, ' ', cases[i].bytes.n);
            assert_true(replaced);
            if (!spaces && got != text_count(*state, "o200k_base", cases[i].text))
                fail_msg("bytes %zu", i);
        }
}

/* Pieces of any length, made of what tokens are made of. The counts follow from the tokens: o200k has 128 blanks as one token. */
static void test_long_pieces(void **state)
{
    enum { N = 100000 };
    char *s = malloc(N);
    assert_non_null(s);
    memset(s, ' ', N);
    assert_int_equal(text_count(*state, "o200k_base", slice_make(s, 128 * 700)), 700);
    memset(s, 'a', N);
    /* tiktoken 0.14: 8 letters a token. */
    assert_int_equal(text_count(*state, "cl100k_base", slice_make(s, N)), N / 8);
    assert_int_equal(text_count(*state, "o200k_base", slice_make(s, N)), N / 8);
    free(s);
}

/* A slice that ends at the last byte before unmapped memory: nothing behind it may be read. */
static void test_nothing_behind_the_text_is_read(void **state)
{
    struct fixture *f = *state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(munmap(map + page, page), 0);
    static const char sample[] = "Don't count, \xe6\xbc\xa2 the 12345 tokens\\n  \\u00e9 {\"a\" : 1}\n\n  fn(x) { return X.y_z; } ";
    const struct tokenizer *t = tokenizer_set_find(f->set, SLICE_LIT("o200k_base"));
    for (size_t n = 0; n < 300; n++)
        for (size_t c = 0; c < f->count; c++) {
            for (size_t i = 0; i < n; i++)
                map[page - n + i] = sample[i % (sizeof sample - 1)];
            for (int how = TOKENS_OF_TEXT; how <= TOKENS_OF_JSON_VALUE; how++) {
                struct token_count count;
                assert_int_equal(token_count_bytes(f->counters[c], t, (enum token_input)how, slice_make(map + page - n, n),
                                                   &count), 0);
                assert_in_range(count.tokens, n > 0 && how == TOKENS_OF_TEXT, n * 3);
            }
        }
    munmap(map, page);
}

/* Text of many kinds, longer than what the scanner looks at in one go, at every place relative to that: a line break before a
 * letter always ends a piece, so what stands before it must add its own tokens and change nothing. */
static void test_long_texts_at_any_offset(void **state)
{
    enum { N = 5000, SHIFT = 130 };
    static const char *const parts[] = { "The quick brown fox", " jumps", "HTTPServer2", " 1234567", "\n\n    ", "    ", "==", "don't", "'LL",
        "\r\n\t", "//\n//x", " (a", "){}", " \xc3\xa9t\xc3\xa9", "\xe6\xbc\xa2", "aVeryLongIdentifierThatGoesOnAndOnAndOnForMoreThanSixtyBytes_",
        "                                                                ", "----------------------------------------------------------------",
        "1", "\xc2\xa0", ".", " ", "'", "0x7f", "ABC" };
    static char text[SHIFT + N + 100];
    uint32_t random = 12345;
    size_t n = SHIFT;
    for (text[n++] = 'T'; n < SHIFT + N;) {
        random = random * 1664525u + 1013904223u;
        const char *part = parts[(random >> 16) % (sizeof parts / sizeof *parts)];
        memcpy(text + n, part, strlen(part));
        n += strlen(part);
    }
    static const char *const encodings[] = { "o200k_base", "cl100k_base", "r50k_base" };
    for (size_t e = 0; e < 3; e++) {
        int64_t alone = text_count(*state, encodings[e], slice_make(text + SHIFT, n - SHIFT));
        for (size_t shift = 2; shift <= SHIFT; shift++) {
            memset(text + SHIFT - shift, 'x', shift);
            text[SHIFT - 1] = '\n';
            int64_t before = text_count(*state, encodings[e], slice_make(text + SHIFT - shift, shift));
            int64_t both = text_count(*state, encodings[e], slice_make(text + SHIFT - shift, n - SHIFT + shift));
            if (both != before + alone)
                fail_msg("%s, %zu bytes before: %lld instead of %lld + %lld", encodings[e], shift, (long long)both,
                         (long long)before, (long long)alone);
        }
    }
}

static void test_history_cache_remembers(void **state)
{
    struct fixture *f = *state;
    struct token_counter *c = token_counter_new(NULL);
    assert_non_null(c);
    struct slice s = SLICE_LIT("The history of a conversation is sent again with every turn.\\n");
    const struct tokenizer *o200k = tokenizer_set_find(f->set, SLICE_LIT("o200k_base"));
    const struct tokenizer *r50k = tokenizer_set_find(f->set, SLICE_LIT("r50k_base"));
    struct token_cache_stats stats;
    int64_t first = token_count_json_string(c, o200k, s, true, NULL);
    int64_t other = token_count_json_string(c, r50k, s, true, NULL);
    int64_t value = token_count_json_value(c, o200k, s, NULL);
    token_counter_stats(c, &stats);
    assert_int_equal(stats.history_hits, 0);
    assert_int_equal(stats.history_misses, 3);
    assert_int_equal(token_count_json_string(c, o200k, s, true, NULL), first);
    assert_int_equal(token_count_json_string(c, r50k, s, true, NULL), other);
    assert_int_equal(token_count_json_value(c, o200k, s, NULL), value);
    token_counter_stats(c, &stats);
    assert_int_equal(stats.history_hits, 3);
    assert_int_equal(stats.history_hit_bytes, 3 * s.n);
    token_counter_free(c);
}

/* Far more strings than the cache holds: it stays bounded and never mistakes one for another. */
/* A string counted in slices is found again when it is counted at once, and the other way round. */
static void test_history_cache_knows_sliced_strings(void **state)
{
    struct fixture *f = *state;
    const struct tokenizer *t = tokenizer_set_find(f->set, SLICE_LIT("o200k_base"));
    struct token_counter *c = token_counter_new(NULL);
    struct token_cache_stats before, after;
    char *text = malloc(300000);
    assert_non_null(c);
    assert_non_null(text);
    for (size_t i = 0; i < 300000; i++)
        text[i] = i % 7 == 0 ? ' ' : (char)('a' + i * i % 23);
    for (size_t n = 32; n < 300000; n = n * 3 + 1) {
        struct token_count sliced, whole, again;
        struct slice s = slice_make(text, n);
        struct token_job *j = token_job_new(c, t, TOKENS_OF_JSON_STRING, s);
        assert_non_null(j);
        while (token_job_step(j, 1, &sliced) == 0) {
        }
        token_job_free(j);
        token_counter_stats(c, &before);
        assert_int_equal(token_count_bytes(c, t, TOKENS_OF_JSON_STRING, s, &whole), 0);
        j = token_job_new(c, t, TOKENS_OF_JSON_STRING, s);
        assert_non_null(j);
        while (token_job_step(j, 1, &again) == 0) {
        }
        token_job_free(j);
        token_counter_stats(c, &after);
        assert_int_equal(after.history_hits, before.history_hits + 2);
        assert_int_equal(after.history_misses, before.history_misses);
        assert_int_equal(sliced.tokens, whole.tokens);
        assert_int_equal(sliced.tokens, again.tokens);
        assert_int_equal(token_count_text(c, t, s, NULL), sliced.tokens);
    }
    free(text);
    token_counter_free(c);
}

static void test_history_cache_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct token_counter_options options = { .history_cache_bytes = 4096 };
    struct token_counter *c = token_counter_new(&options);
    const struct tokenizer *t = tokenizer_set_find(f->set, SLICE_LIT("o200k_base"));
    char text[64];
    assert_non_null(c);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 5000; i++) {
            int n = snprintf(text, sizeof text, "%.*s this is message number %d of many", i % 7, "x y z w", i);
            struct slice s = slice_make(text, (size_t)n);
            assert_int_equal(token_count_json_string(c, t, s, false, NULL), token_count_text(c, t, s, NULL));
        }
    token_counter_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_texts),
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_json_values),
        cmocka_unit_test(test_bytes_that_are_not_utf8),
        cmocka_unit_test(test_long_pieces),
        cmocka_unit_test(test_nothing_behind_the_text_is_read),
        cmocka_unit_test(test_long_texts_at_any_offset),
        cmocka_unit_test(test_history_cache_remembers),
        cmocka_unit_test(test_history_cache_knows_sliced_strings),
        cmocka_unit_test(test_history_cache_is_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
