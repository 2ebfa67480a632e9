/* Arena, secrets and log lines. */
#include "base/arena.h"
#include "base/log.h"
#include "base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void arena_hands_out_separate_memory(void **state)
{
    struct arena *a = arena_new(256);
    char *blocks[200];
    (void)state;

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            blocks[i] = arena_alloc(a, (size_t)i * 7 + 1);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            memset(blocks[i], i, (size_t)i * 7 + 1);
        }
        for (int i = 0; i < 200; i++)
            for (int k = 0; k < i * 7 + 1; k++)
                assert_int_equal((unsigned char)blocks[i][k], (unsigned char)i);
        assert_true(arena_used(a) >= 200);
        arena_reset(a, 4096);
        assert_int_equal(arena_used(a), 0);
    }
    assert_null(arena_alloc(a, SIZE_MAX - 8));
    arena_free(a);
}

static void arena_formats_long_text(void **state)
{
    struct arena *a = arena_new(256);
    char long_text[1000];
    (void)state;

    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    struct slice s = arena_printf(a, "<%s>", long_text);
    assert_int_equal(s.n, sizeof long_text + 1);
    assert_int_equal(s.p[s.n - 1], '>');
    assert_int_equal(s.p[s.n], '\0');
    arena_free(a);
}

static void secret_file_modes(void **state)
{
    char path[] = "/tmp/tollgate-secret-XXXXXX", why[256];
    int fd = mkstemp(path);
    (void)state;

    assert_int_equal(write(fd, "hidden\n", 7), 7);
    close(fd);
    chmod(path, 0600);
    struct secret *s = secret_from_file(path, why, sizeof why);
    assert_non_null(s);
    assert_true(slice_eq_cstr(secret_view(s), "hidden"));
    assert_true(secret_equal(s, SLICE_LIT("hidden")));
    assert_false(secret_equal(s, SLICE_LIT("hiddem")));
    assert_false(secret_equal(s, SLICE_LIT("hidden ")));
    assert_false(secret_equal(s, SLICE_LIT("")));
    secret_free(s);
    chmod(path, 0640);
    assert_null(secret_from_file(path, why, sizeof why));
    assert_non_null(strstr(why, "chmod 600"));
    assert_null(strstr(why, "hidden"));
    chmod(path, 0600);
    assert_int_equal(truncate(path, 0), 0);
    assert_null(secret_from_file(path, why, sizeof why));
    assert_non_null(strstr(why, "empty"));
    unlink(path);
    assert_null(secret_from_file(path, why, sizeof why));
    assert_null(secret_from_file("/tmp", why, sizeof why));
}

static void log_line_cannot_be_forged(void **state)
{
    int pipe_fd[2];
    char line[1024];
    (void)state;

    assert_int_equal(pipe(pipe_fd), 0);
    log_set_fd(pipe_fd[1]);
    LOG(LOG_LEVEL_WARN, "peer_said", LOG_CSTR("text", "a\n2026 error forged x=\"1\" \xff"), LOG_INT("n", -5), LOG_CSTR("ok", "plain"));
    log_set_fd(STDERR_FILENO);
    ssize_t n = read(pipe_fd[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    assert_ptr_equal(strchr(line, '\n'), line + n - 1);
    assert_non_null(strstr(line, "text=\"a\\x0a2026 error forged x=\\\"1\\\" \\xff\""));
    assert_non_null(strstr(line, " n=-5 ok=plain\n"));
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

static void log_gate_counts_what_it_held(void **state)
{
    struct log_gate g = { .passed = 0 };
    unsigned held = 0, passed = 0;
    (void)state;

    for (int i = 0; i < 100; i++)
        passed += log_gate_open(&g, 5000000 + i, 3, &held);
    assert_int_equal(passed, 3);
    assert_true(log_gate_open(&g, 6000000, 3, &held));
    assert_int_equal(held, 97);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_hands_out_separate_memory), cmocka_unit_test(arena_formats_long_text),
        cmocka_unit_test(secret_file_modes),               cmocka_unit_test(log_line_cannot_be_forged),
        cmocka_unit_test(log_gate_counts_what_it_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
