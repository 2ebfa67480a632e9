/* Small things that several parts stand on: hexadecimal digits, lists that grow. */
#include "base/hex.h"
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void test_hexadecimal_digits(void **state)
{
    static const char lower[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";

    (void)state;
    for (int c = -128; c < 128; c++) {
        const char *l = c != 0 ? strchr(lower, c) : NULL, *u = c != 0 ? strchr(upper, c) : NULL;
        assert_int_equal(hex_digit_lower((char)c), l != NULL ? l - lower : -1);
        assert_int_equal(hex_digit((char)c), l != NULL ? l - lower : u != NULL ? u - upper : -1);
    }
}

static void test_a_list_keeps_what_it_has(void **state)
{
    size_t count = 0, room = 0;
    int *list = NULL;

    (void)state;
    for (; count < 1000; count++) {
        int *more = list_grown(list, count, &room, sizeof *list);
        assert_non_null(more);
        list = more;
        assert_true(room > count);
        list[count] = (int)count * 3;
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(list[i], i * 3);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_hexadecimal_digits), cmocka_unit_test(test_a_list_keeps_what_it_has) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
