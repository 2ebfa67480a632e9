/* Guardrails: each shape found in ordinary text, and what only looks like one left alone. */
#include "guard/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl-_0"

static const struct {
    const char *in, *out;
} rows[] = {
    { "", "" },
    { "nothing to see here, 42 times, on 2026-11-28 at 14:30:05.", "nothing to see here, 42 times, on 2026-11-28 at 14:30:05." },
    /* e-mail */
    { "write to ann.o'neil+llm@mail.example.co.uk, please", "write to [email], please" },
    { "<bob@example.com>", "<[email]>" },
    { "m\xc3\xbcller@b\xc3\xbc" "cher.example", "[email]" },
    { "a@b.co is short", "[email] is short" },
    { "user@localhost and @handle and a@b", "user@localhost and @handle and a@b" },
    { "end of sentence: ann@example.com.", "end of sentence: [email]." },
    /* telephone */
    { "call +49 (30) 1234-5678 now", "call [phone] now" },
    { "+1-202-555-0143", "[phone]" },
    { "tel. 030/12345678, or 0171 1234567.", "tel. [phone], or [phone]." },
    { "(202) 555-0143 and 202.555.0143", "[phone] and [phone]" },
    { "0.123456789012 and 3.14159265358979", "0.123456789012 and 3.14159265358979" },
    { "order 1234567890, room 2025550143", "order 1234567890, room 2025550143" },
    { "+1 is better, +12 too", "+1 is better, +12 too" },
    { "192.168.100.200", "192.168.100.200" },
    /* cards: the well-known test numbers */
    { "4111 1111 1111 1111 exp 12/30", "[card] exp 12/30" },
    { "5500-0000-0000-0004", "[card]" },
    { "340000000000009.", "[card]." },
    { "4111 1111 1111 1112", "4111 1111 1111 1112" }, /* wrong Luhn digit */
    { "411111111111111", "411111111111111" },
    { "41111111111111110000000", "41111111111111110000000" }, /* longer than any card */
    /* IBAN: examples of ISO 13616 */
    { "DE89 3704 0044 0532 0130 00 thanks", "[iban] thanks" },
    { "gb82west12345698765432", "[iban]" },
    { "NO9386011117947", "[iban]" },
    { "GB83WEST12345698765432", "GB83WEST12345698765432" }, /* wrong checksum */
    /* tokens and keys */
    { "token: " JWT "!", "token: [jwt]!" },
    { "eyJust kidding", "eyJust kidding" },
    { "sk-proj-abcdefghijklmnop1234 and ghp_0123456789abcdefghijABCDEFGHIJ", "[key] and [key]" },
    { "AKIAIOSFODNN7EXAMPLE,AIzaSyA-1234567890abcdefghijklmnopqrs", "[key],[key]" },
    { "sk-short sk- ghp_x", "sk-short sk- ghp_x" },
    { "Authorization: Bearer abcdef123456", "Authorization: [key]" },
    { "password=hunter22; next", "[key]; next" },
    { "\"api_key\": \"0a1b2c3d\", ok", "\"[key]\", ok" },
    { "the secret of life: none", "the secret of life: none" },
    { "my password: ab", "my password: ab" },
    { "0123456789abcdef0123456789abcdef", "[key]" },
    { "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY", "[key]" },
    { "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000" }, /* a UUID is no secret */
    { "internationalization-of-everything-we-have", "internationalization-of-everything-we-have" },
    { "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY----- after", "[key] after" },
    { "-----BEGIN PRIVATE KEY-----\nMIIEow and no end", "[key]" },
    { "-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nMII" },
    /* together */
    { "ann@example.com,+493012345678,DE89370400440532013000", "[email],[phone],[iban]" },
};

static void test_each_shape(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].in);
        char *out = malloc(GUARD_ROOM(n)), *in = malloc(n + 1); /* of their sizes, for the sanitizer */
        memcpy(in, rows[i].in, n);
        size_t got = guard_redact(slice_make(in, n), out);
        if (!slice_eq_cstr(slice_make(out, got), rows[i].out))
            fail_msg("row %zu: %s\nbecame: %.*s", i, rows[i].in, (int)got, out);
        free(out);
        free(in);
    }
}

/* Found wherever it stands, and its parts are not found in longer words. */
static void test_between_other_words(void **state)
{
    static const char *const around[][2] = { { "", "" }, { " ", " " }, { "(", ")" }, { "\n", "\n" }, { "\"", "\"" }, { "\xe2\x80\x9e ", " \xe2\x80\x9c" } };
    static const char *const found[][2] = { { "ann@example.com", "[email]" }, { "+4930123456789", "[phone]" }, { "4111111111111111", "[card]" },
                                            { "DE89370400440532013000", "[iban]" }, { JWT, "[jwt]" }, { "sk-abcdefghijklmnop", "[key]" } };
    char text[200], expected[200], out[GUARD_ROOM(200)];

    (void)state;
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        for (size_t k = 0; k < sizeof around / sizeof *around; k++) {
            snprintf(text, sizeof text, "%s%s%s", around[k][0], found[i][0], around[k][1]);
            snprintf(expected, sizeof expected, "%s%s%s", around[k][0], found[i][1], around[k][1]);
            size_t n = guard_redact(slice_cstr(text), out);
            if (!slice_eq_cstr(slice_make(out, n), expected))
                fail_msg("%s became %.*s", text, (int)n, out);
        }
    size_t n = guard_redact(SLICE_LIT("x4111111111111111 and xDE89370400440532013000y"), out);
    assert_true(slice_eq_cstr(slice_make(out, n), "x4111111111111111 and xDE89370400440532013000y"));
}

/* Texts made of beginnings: the room is enough, and they end. */
static void test_beginnings(void **state)
{
    static const char *const units[] = { "a@b.co ", "eyJ-", "a.", "+1", "0 ", "4-", "DE89 ", "sk-", "password=", "bearer ", "-----BEGIN PRIVATE KEY", "a-", "\xff", "(" };
    enum { N = 200000 };
    char *in = malloc(N), *out = malloc(GUARD_ROOM(N));

    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t k = strlen(units[u]);
        for (size_t i = 0; i < N; i++)
            in[i] = units[u][i % k];
        size_t n = guard_redact(slice_make(in, N), out);
        assert_in_range(n, 1, GUARD_ROOM(N));
    }
    free(in);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_each_shape), cmocka_unit_test(test_between_other_words), cmocka_unit_test(test_beginnings) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
