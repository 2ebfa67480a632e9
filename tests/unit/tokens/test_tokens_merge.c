/* The method for long pieces against byte-pair encoding by the book, on rows of one sign and on mixtures of rows: what it remembers from one
 * text must hold for the next. */
#include "tokens/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 2048, STEP_WORK = 512, OVER_WORK = 2 * VOCAB_MAX_TOKEN * MERGE_TRIAL_WORK };

static const char *const encodings[] = { "o200k_base", "cl100k_base", "p50k_base", "r50k_base" };
static const char signs[] = "-=*/# \t_.\n~+a0";

/* The pair of lowest rank first, the left one of two that are equal. */
static size_t merge_by_the_book(const struct vocab *v, const uint8_t *p, size_t n)
{
    static uint32_t ids[LONGEST], joined[LONGEST];
    for (size_t i = 0; i < n; i++)
        ids[i] = v->bytes[p[i]];
    for (size_t i = 0; i + 1 < n; i++)
        joined[i] = vocab_merge(v, ids[i], ids[i + 1]);
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = joined[i] < joined[best] ? i : best;
        if (n < 2 || joined[best] == VOCAB_NONE)
            return n;
        ids[best] = joined[best];
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        memmove(joined + best, joined + best + 1, (n - best - 1) * sizeof *joined);
        n--;
        if (best + 1 < n)
            joined[best] = vocab_merge(v, ids[best], ids[best + 1]);
        if (best > 0)
            joined[best - 1] = vocab_merge(v, ids[best - 1], ids[best]);
    }
}

static size_t merge_in_steps(const struct vocab *v, struct merge_memo *memo, const uint8_t *p, size_t n)
{
    struct long_piece l;
    size_t work = 0, before;
    int done;
    long_piece_start(&l, v, memo, p, n);
    do {
        before = work;
        done = long_piece_step(&l, v, STEP_WORK, &work);
        assert_in_range(work - before, 1, STEP_WORK + OVER_WORK);
    } while (done == 0);
    assert_int_equal(done, 1);
    size_t count = l.count;
    long_piece_free(&l);
    return count;
}

static void check(const struct vocab *v, struct merge_memo *memo, const uint8_t *p, size_t n)
{
    size_t expected = merge_by_the_book(v, p, n), got = merge_in_steps(v, memo, p, n);
    if (got != expected)
        fail_msg("%zu bytes from \"%.20s\": %zu tokens instead of %zu", n, (const char *)p, got, expected);
    if (n <= MERGE_MEDIUM)
        assert_int_equal(merge_medium(v, memo, p, n), expected);
}

static void check_rows(const struct vocab *v, struct merge_memo *memo)
{
    static const size_t lengths[] = { 2, 9, 63, 64, 65, 100, 129, 300 }, long_ones[] = { 511, 1000, 1024, 1025, 2047 };
    static uint8_t text[LONGEST];
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(text, (int)byte, sizeof text);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            check(v, memo, text, lengths[i]);
    }
    for (const char *sign = signs; *sign; sign++) {
        memset(text, *sign, sizeof text);
        for (size_t n = 1; n <= 2 * VOCAB_MAX_TOKEN + 10; n++)
            check(v, memo, text, n);
        for (size_t i = 0; i < sizeof long_ones / sizeof *long_ones; i++)
            check(v, memo, text, long_ones[i]);
    }
}

static void check_mixtures(const struct vocab *v, struct merge_memo *memo)
{
    static uint8_t text[LONGEST];
    uint32_t random = 2025;
    for (int i = 0; i < 400; i++) {
        size_t n = 0, want = 1 + (size_t)i * 2;
        while (n < want) {
            random = random * 1664525u + 1013904223u;
            size_t row = 1 + (random >> 8) % (random >> 31 ? 200 : 9);
            row = row < want - n ? row : want - n;
            memset(text + n, signs[(random >> 16) % 3 + i % 8], row);
            n += row;
        }
        check(v, memo, text, n);
    }
}

static void test_equals_merging_by_the_book(void **state)
{
    for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++) {
        const struct tokenizer *t = tokenizer_set_find(*state, slice_cstr(encodings[e]));
        struct merge_memo *memo = calloc(1, sizeof *memo);
        assert_true(t && memo);
        check_rows(&t->vocab, memo);
        check_mixtures(&t->vocab, memo);
        free(memo);
    }
}

static int setup(void **state)
{
    char why[512];
    return (*state = tokenizer_set_open(NULL, why, sizeof why)) ? 0 : -1;
}

static int teardown(void **state)
{
    tokenizer_set_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_equals_merging_by_the_book) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
