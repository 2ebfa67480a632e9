/* Whole files: their bounds, and what is no file to read. */
#include "base/file_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[96];

static int folder(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tollgate-file-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/file", dir);
    return 0;
}

static int folder_gone(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void put(const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wbe");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void reads(const char *bytes, size_t n, size_t max)
{
    char why[128];
    size_t got = 77;
    struct stat st;

    put(bytes, n);
    assert_int_equal(chmod(path, 0640), 0);
    char *text = file_read(path, max, &got, &st, why, sizeof why);
    if (text == NULL)
        fail_msg("%s", why);
    assert_int_equal(got, n);
    assert_memory_equal(text, bytes, n);
    assert_int_equal(text[n], '\0');
    assert_int_equal(st.st_mode & 0777, 0640);
    free(text);
}

static void refuses(const char *file, size_t max, const char *reason)
{
    char why[128] = "";
    size_t got = 77;

    assert_null(file_read(file, max, &got, NULL, why, sizeof why));
    assert_int_equal(got, 0);
    assert_string_equal(why, reason);
}

static void test_whole(void **state)
{
    char *large = malloc(300000);

    (void)state;
    assert_non_null(large);
    for (int i = 0; i < 300000; i++)
        large[i] = (char)(i * 7);
    reads("", 0, 10);
    reads("a\0b", 3, 3);
    reads(large, 300000, 300000);
    free(large);
}

static void test_refused(void **state)
{
    (void)state;
    put("0123456789", 10);
    refuses(path, 9, "larger than 9 bytes");
    assert_int_equal(truncate(path, 1024 * 1024 + 1), 0);
    refuses(path, 1024, "larger than 1 KiB");
    refuses(path, 1024 * 1024, "larger than 1 MiB");
    refuses("/nowhere/at/all", 10, "No such file or directory");
    refuses(dir, 10, "not a regular file");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuses(path, 10, "not a regular file"); /* and it does not wait for somebody to write */
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_whole), cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, folder, folder_gone);
}
