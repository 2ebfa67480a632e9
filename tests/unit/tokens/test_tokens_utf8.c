#include "tokens/text.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Bytes from p on that are whole characters other than `stop`, one after the other. */
static size_t whole_characters(const uint8_t *p, const uint8_t *end, uint8_t stop)
{
    const uint8_t *start = p;
    bool valid = true;
    while (p < end && *p != stop) {
        size_t n = text_sequence(p, end, &valid);
        if (!valid)
            break;
        p += n;
    }
    return (size_t)(p - start);
}

/* Never more than there are; all but the last bytes of what is well-formed; and the end lies between characters. */
static void check(const uint8_t *p, size_t n, uint8_t stop)
{
    uint8_t *copy = malloc(n); /* so that reading on would be seen */
    assert_non_null(copy);
    memcpy(copy, p, n);
    size_t whole = whole_characters(copy, copy + n, stop), found = utf8_blocks(copy, copy + n, stop);
    assert_true(found <= whole);
    assert_int_equal(whole_characters(copy, copy + found, stop), found);
#ifdef __SSE2__
    if (whole == n)
        assert_true(n - found < 64);
    else
        assert_true(whole - found < 64);
#endif
    free(copy);
}

/* Up to what may not stand in a JSON string as it is. */
static void check_json(const uint8_t *p, size_t n, uint8_t stop)
{
    size_t before = 0, found = utf8_json_blocks(p, p + n);
    while (before < n && p[before] != '"' && p[before] != '\\' && p[before] >= 0x20)
        before++;
    assert_true(found <= before);
    assert_int_equal(whole_characters(p, p + found, stop), found);
#ifdef __SSE2__
    assert_true(before - found < 64);
#endif
}

static const char *const well_formed[] = { "a", " ", "\n", "\302\200", "\337\277", "\340\240\200", "\355\237\277", "\356\200\200", "\357\277\277",
                                           "\360\220\200\200", "\364\217\277\277", "\341\200\277" };
static const char *const ill_formed[] = { "\200", "\277", "\300\200", "\301\277", "\302", "\302a", "\337\302\200", "\340\237\277", "\340\240",
                                          "\355\240\200", "\357\277", "\360\217\277\277", "\360\220\200", "\364\220\200\200", "\365\200\200\200",
                                          "\377", "\341\200a" };

#define COUNT(a) (sizeof(a) / sizeof *(a))

static size_t fill(uint8_t *p, size_t n, unsigned *seed)
{
    size_t at = 0;
    while (at + 4 < n) {
        *seed = *seed * 1103515245u + 12345u;
        const char *c = well_formed[(*seed >> 16) % COUNT(well_formed)];
        memcpy(p + at, c, strlen(c));
        at += strlen(c);
    }
    return at;
}

static void test_well_formed(void **state)
{
    uint8_t text[1000];
    unsigned seed = 1;
    (void)state;
    for (size_t n = 0; n < sizeof text; n++)
        check(text, fill(text, n, &seed), 0);
}

static void test_one_mistake_at_every_place(void **state)
{
    uint8_t text[300];
    unsigned seed = 2;
    (void)state;
    for (size_t k = 0; k < COUNT(ill_formed); k++)
        for (size_t at = 0; at < 200; at++) {
            size_t n = fill(text, sizeof text, &seed), start = 0;
            bool valid;
            while (start < at)
                start += text_sequence(text + start, text + n, &valid);
            memcpy(text + start, ill_formed[k], strlen(ill_formed[k]));
            check(text, n, 0);
        }
}

static void test_stops(void **state)
{
    uint8_t text[300];
    unsigned seed = 3;
    (void)state;
    for (size_t at = 0; at < 200; at++) {
        size_t n = fill(text, sizeof text, &seed), start = 0;
        bool valid;
        while (start < at)
            start += text_sequence(text + start, text + n, &valid);
        text[start] = '\\';
        check(text, n, '\\');
    }
}

static void test_stops_of_json(void **state)
{
    static const uint8_t stops[] = { '"', '\\', '\n', 0, 0x1f };
    uint8_t text[300];
    unsigned seed = 4;
    (void)state;
    for (size_t at = 0; at < 200 * sizeof stops; at++) {
        size_t n = fill(text, sizeof text, &seed), start = 0;
        bool valid;
        for (size_t i = 0; i < n; i++)
            text[i] = text[i] == '\n' ? 0x7f : text[i]; /* which may stand there */
        while (start < at / sizeof stops)
            start += text_sequence(text + start, text + n, &valid);
        check_json(text, n, 0);
        text[start] = stops[at % sizeof stops];
        if (start + 1 < n && text[start + 1] >= 0x80 && text[start + 1] < 0xc0)
            n = start + 1; /* the rest of a character that is no more */
        check_json(text, n, stops[at % sizeof stops]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_formed),
        cmocka_unit_test(test_one_mistake_at_every_place),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_stops_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
