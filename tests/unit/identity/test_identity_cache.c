/* The cache of verified tokens: entries are told apart by the whole digest, bounded by number and by bytes, and replaced, not added to. */
#include "identity/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static void put(struct cache *c, const uint8_t digest[CACHE_DIGEST], const char *subject)
{
    struct identity id = { .subject = slice_cstr(subject), .team = SLICE_LIT("team") };
    cache_put(c, digest, 0, 1, 1000, &id);
}

static bool holds(struct cache *c, const uint8_t digest[CACHE_DIGEST], const char *subject)
{
    struct cache_entry *e = cache_find(c, digest);
    return e != NULL && slice_eq_cstr(e->id.subject, subject);
}

/* Digests that differ in one bit only, at any place: in the part the buckets are chosen by, and in all the rest. */
static void test_one_bit_is_another_token(void **state)
{
    enum { BITS = CACHE_DIGEST * 8 };
    struct cache *c = cache_new(1024, 1 << 20);
    uint8_t base[CACHE_DIGEST], d[CACHE_DIGEST];
    char name[16];

    (void)state;
    memset(base, 0x5a, sizeof base);
    put(c, base, "base");
    for (int bit = 0; bit < BITS; bit++) {
        memcpy(d, base, sizeof d);
        d[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_null(cache_find(c, d));
        snprintf(name, sizeof name, "bit%d", bit);
        put(c, d, name);
    }
    assert_true(holds(c, base, "base"));
    for (int bit = 0; bit < BITS; bit++) {
        memcpy(d, base, sizeof d);
        d[bit / 8] ^= (uint8_t)(1u << bit % 8);
        snprintf(name, sizeof name, "bit%d", bit);
        assert_true(holds(c, d, name));
    }
    cache_drop(c, cache_find(c, base)); /* one out of a full bucket leaves the others */
    assert_null(cache_find(c, base));
    memcpy(d, base, sizeof d);
    d[CACHE_DIGEST - 1] ^= 1;
    assert_non_null(cache_find(c, d));
    cache_free(c);
}

static void test_bounds(void **state)
{
    struct identity_cache_state st;
    struct cache *c = cache_new(4, 1 << 20);
    uint8_t d[6][CACHE_DIGEST];

    (void)state;
    for (uint8_t i = 0; i < 6; i++)
        memset(d[i], i, CACHE_DIGEST);
    for (int i = 0; i < 4; i++)
        put(c, d[i], "x");
    assert_true(holds(c, d[0], "x")); /* used: the oldest is d[1] */
    put(c, d[4], "x");
    assert_null(cache_find(c, d[1]));
    assert_true(holds(c, d[0], "x"));
    put(c, d[0], "y"); /* replaced */
    assert_true(holds(c, d[0], "y"));
    cache_state(c, &st);
    assert_int_equal(st.entries, 4);
    assert_int_equal(st.evictions, 1);
    cache_free(c);

    c = cache_new(100, 3 * sizeof(struct cache_entry));
    for (int i = 0; i < 6; i++) {
        put(c, d[i], "x");
        cache_state(c, &st);
        assert_true(st.bytes <= 3 * sizeof(struct cache_entry));
    }
    assert_true(st.entries >= 1 && st.entries < 3);
    static char huge[4 * sizeof(struct cache_entry)];
    memset(huge, 'h', sizeof huge - 1);
    put(c, d[5], huge); /* too large by itself: not kept, and what stood there is gone */
    assert_null(cache_find(c, d[5]));
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_bit_is_another_token), cmocka_unit_test(test_bounds) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
