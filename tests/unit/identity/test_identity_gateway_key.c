/* Gateway keys: their text, their checksum, and which hash of the table opens what until when. */
#include "identity/gateway_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T(s) SLICE_LIT(s)

/* Computed with Python: base 62 of the number, zlib.crc32 of these 43 digits. */
static const struct {
    uint8_t fill;
    const char *text;
} known[] = {
    { 0x00, "tg_0000000000000000000000000000000000000000000" "2CZclj" },
    { 0xff, "tg_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1" "3sRzl1" },
};

static void test_known_texts(void **state)
{
    char text[GATEWAY_KEY_TEXT + 1];
    uint8_t secret[32];

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        memset(secret, known[i].fill, sizeof secret);
        gateway_key_text(secret, text);
        assert_string_equal(text, known[i].text);
        assert_null(gateway_key_check(slice_cstr(text)));
    }
}

static void test_a_typo_is_seen(void **state)
{
    char text[GATEWAY_KEY_TEXT + 1], other[GATEWAY_KEY_TEXT + 1];

    (void)state;
    assert_true(gateway_key_make(text) && gateway_key_make(other));
    assert_string_not_equal(text, other);
    assert_true(gateway_key_looks(slice_cstr(text)));
    assert_false(gateway_key_looks(T("eyJhbGciOi")));
    for (size_t i = 3; i < GATEWAY_KEY_TEXT; i++) {
        char was = text[i];
        text[i] = was == 'a' ? 'b' : 'a';
        assert_non_null(gateway_key_check(slice_cstr(text)));
        text[i] = '-';
        assert_non_null(gateway_key_check(slice_cstr(text)));
        text[i] = '\0';
        assert_non_null(gateway_key_check(slice_make(text, GATEWAY_KEY_TEXT)));
        text[i] = was;
    }
    for (size_t i = 3; i + 1 < GATEWAY_KEY_TEXT; i++) { /* two neighbours changed places */
        if (text[i] == text[i + 1])
            continue;
        char was = text[i];
        text[i] = text[i + 1];
        text[i + 1] = was;
        assert_non_null(gateway_key_check(slice_cstr(text)));
        text[i + 1] = text[i];
        text[i] = was;
    }
    assert_non_null(gateway_key_check(slice_make(text, GATEWAY_KEY_TEXT - 1)));
    assert_null(gateway_key_check(slice_cstr(text)));
}

static void test_the_hash_needs_the_secret(void **state)
{
    uint8_t digest[32] = { 1, 2, 3 }, a[GATEWAY_KEY_HASH], b[GATEWAY_KEY_HASH];

    (void)state;
    assert_true(gateway_key_hash(T("secret one"), digest, a) && gateway_key_hash(T("secret two"), digest, b));
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(gateway_key_hash(T("secret one"), digest, b));
    assert_memory_equal(a, b, sizeof a);
}

static void hash_number(unsigned n, uint8_t out[static GATEWAY_KEY_HASH])
{
    uint8_t digest[32] = { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16) };
    assert_true(gateway_key_hash(T("pepper"), digest, out));
}

static void test_what_a_key_opens_and_until_when(void **state)
{
    struct gateway_key k = { .id = T("key_1"), .team = T("core"), .user = T("ci"), .groups = T("a\nb"), .models = T("chat-*"),
                             .budget = T("$5.00 day"), .endpoints = 2, .created_s = 100, .expires_s = 1000, .has_previous = true,
                             .previous_until_s = 500 };
    struct identity who;
    uint8_t none[GATEWAY_KEY_HASH];

    (void)state;
    hash_number(1, k.hash);
    hash_number(2, k.previous_hash);
    hash_number(3, none);
    struct gateway_key_table *t = gateway_key_table_new(&k, 1);
    assert_non_null(t);
    k = (struct gateway_key){ .hash = { 0 } }; /* the table has its own */
    uint8_t now[GATEWAY_KEY_HASH], before[GATEWAY_KEY_HASH];
    hash_number(1, now);
    hash_number(2, before);
    assert_int_equal(gateway_key_find(t, none, 200, &who), GATEWAY_KEY_UNKNOWN);
    assert_int_equal(gateway_key_find(NULL, now, 200, &who), GATEWAY_KEY_UNKNOWN);
    assert_int_equal(gateway_key_find(t, now, 999, &who), GATEWAY_KEY_GOOD);
    assert_int_equal(gateway_key_find(t, now, 1000, &who), GATEWAY_KEY_EXPIRED);
    assert_int_equal(gateway_key_find(t, before, 500, &who), GATEWAY_KEY_REPLACED);
    assert_int_equal(gateway_key_find(t, before, 1000, &who), GATEWAY_KEY_EXPIRED);
    assert_int_equal(gateway_key_find(t, before, 499, &who), GATEWAY_KEY_GOOD);
    assert_true(slice_eq_cstr(who.subject, "key_1") && slice_eq_cstr(who.issuer, GATEWAY_KEY_ISSUER) && slice_eq_cstr(who.team, "core"));
    assert_true(who.group_count == 2 && slice_eq_cstr(who.groups[1], "b") && slice_eq_cstr(who.key_models, "chat-*"));
    assert_true(who.key_endpoints == 2 && slice_eq_cstr(who.key_budget, "$5.00 day") && who.issued_s == 100 && who.expires_s == 1000);
    snapshot_unref(gateway_key_table_snapshot(t));
}

static void test_many_keys_do_not_hide_each_other(void **state)
{
    enum { MANY = 5000 };
    struct gateway_key *k = calloc(MANY, sizeof *k);
    char ids[MANY][8];
    struct identity who;
    uint8_t h[GATEWAY_KEY_HASH];

    (void)state;
    assert_non_null(k);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(ids[i], sizeof ids[i], "k%u", i);
        k[i].id = slice_cstr(ids[i]);
        hash_number(i, k[i].hash);
    }
    struct gateway_key_table *t = gateway_key_table_new(k, MANY);
    assert_non_null(t);
    for (unsigned i = 0; i < MANY; i++) {
        hash_number(i, h);
        assert_int_equal(gateway_key_find(t, h, 1, &who), GATEWAY_KEY_GOOD);
        assert_true(slice_eq_cstr(who.key_id, ids[i]));
        hash_number(i + MANY, h);
        assert_int_equal(gateway_key_find(t, h, 1, &who), GATEWAY_KEY_UNKNOWN);
    }
    snapshot_unref(gateway_key_table_snapshot(t));
    free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_texts),
        cmocka_unit_test(test_a_typo_is_seen),
        cmocka_unit_test(test_the_hash_needs_the_secret),
        cmocka_unit_test(test_what_a_key_opens_and_until_when),
        cmocka_unit_test(test_many_keys_do_not_hide_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
