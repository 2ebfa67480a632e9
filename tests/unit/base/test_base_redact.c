/* Redaction: every spelling of a live secret goes, ordinary text stays byte for byte, lines of the log included. */
#include "base/log.h"
#include "base/redact.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void test_spellings(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "", "" },
        { "nothing here", "nothing here" },
        { "sk-live-0123456789", "[secret]" },
        { "Authorization: Bearer sk-live-0123456789, again sk-live-0123456789!", "Authorization: Bearer [secret], again [secret]!" },
        { "xsk-live-0123456789sk-live-0123456789y", "x[secret][secret]y" },
        { "{\"k\":\"ab/cd+ef\\\"gh==\"}", "{\"k\":\"[secret]\"}" },
        { "{\"k\":\"ab\\/cd+ef\\\"gh==\"}", "{\"k\":\"[secret]\"}" },
        { "?key=ab%2Fcd%2Bef%22gh%3D%3D&x", "?key=[secret]&x" },
        { "?key=ab%2fcd%2bef%22gh%3d%3d&x", "?key=[secret]&x" },
        { "plain ab/cd+ef\"gh==", "plain [secret]" },
        { "the longer one: sk-live-0123456789-more", "the longer one: [secret]" },
        { "almost: sk-live-012345678.", "almost: sk-live-012345678." },
        { "cut off: sk-live-01234", "cut off: [secret]" }, /* texts are cut: the beginning of a key at the end is one */
        { "cut too short: sk-live", "cut too short: sk-live" },
        { "tiny", "tiny" },
        { "exactly8", "[secret]" },
        { "line\\nbreak-in-pem", "[secret]" },
    };
    static const char *const secrets[] = { "sk-live-0123456789", "ab/cd+ef\"gh==", "tiny", "sk-live-0123456789-more", "exactly8",
                                           "line\nbreak-in-pem" };
    struct redact_entry *e[COUNT(secrets)];
    bool failed;
    (void)state;
    for (size_t i = 0; i < COUNT(secrets); i++) {
        e[i] = redact_add(slice_cstr(secrets[i]), &failed);
        assert_false(failed);
        assert_int_equal(e[i] == NULL, strlen(secrets[i]) < REDACT_MIN);
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200], masked[200];
        size_t n = strlen(rows[i].in);
        memcpy(text, rows[i].in, n);
        memcpy(masked, rows[i].in, n);
        size_t m = redact_text(text, n);
        if (!slice_eq_cstr(slice_make(text, m), rows[i].out))
            fail_msg("row %zu: %.*s", i, (int)m, text);
        redact_mask(masked, n);
        assert_int_equal(memcmp(masked, rows[i].in, n) == 0, strcmp(rows[i].in, rows[i].out) == 0);
        assert_null(memmem(masked, n, "0123456789", 10));
    }
    for (size_t i = 0; i < COUNT(secrets); i++)
        redact_remove(e[i]);
    char after[] = "sk-live-0123456789";
    assert_int_equal(redact_text(after, strlen(after)), strlen(after)); /* it is nobody's secret any more */
}

/* A secret held twice is looked for until both are gone. */
static void test_held_twice(void **state)
{
    struct redact_entry *a = redact_add(SLICE_LIT("same-secret-1"), NULL), *b = redact_add(SLICE_LIT("same-secret-1"), NULL);
    char text[] = "same-secret-1", again[] = "same-secret-1";
    (void)state;
    redact_remove(a);
    assert_int_equal(redact_text(text, strlen(text)), 8);
    redact_remove(b);
    assert_int_equal(redact_text(again, strlen(again)), strlen(again));
}

static void test_log_lines(void **state)
{
    char path[] = "/tmp/redact.XXXXXX", buf[8192], padding[5000];
    int fd = mkstemp(path);
    struct redact_entry *e = redact_add(SLICE_LIT("sk-\"quoted\\key-55"), NULL);
    (void)state;
    assert_true(fd >= 0 && e != NULL);
    unlink(path);
    log_set_fd(fd);
    LOG(LOG_LEVEL_ERROR, "token_refused", LOG_CSTR("why", "the endpoint said: sk-\"quoted\\key-55 is wrong"), LOG_INT("status", 401));
    /* a line that is cut in the middle of the key */
    for (size_t n = 3900; n < 4096; n++) {
        memset(padding, 'x', n);
        strcpy(padding + n, " sk-\"quoted\\key-55");
        LOG(LOG_LEVEL_ERROR, "long", LOG_CSTR("why", padding));
    }
    log_set_fd(STDERR_FILENO);
    redact_remove(e);
    lseek(fd, 0, SEEK_SET);
    ssize_t n = 0, all = 0;
    while ((n = read(fd, buf + all, sizeof buf - (size_t)all)) > 0) {
        assert_null(memmem(buf, (size_t)(all + n), "quoted", 6));
        if (all == 0)
            assert_non_null(memmem(buf, (size_t)n, "the endpoint said: [secret] is wrong\" status=401\n", 48));
        n += all;
        all = n < 64 ? n : 64; /* enough of the end for a match across two reads */
        memmove(buf, buf + n - all, (size_t)all);
    }
    close(fd);
}

/* ---- threads ------------------------------------------------------------------------------------------------------------ */

static atomic_bool stop;
static atomic_long scanned;

static void *scan(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        char text[] = "a line with permanent-secret-7 in it, and transient-secret-8";
        size_t n = redact_text(text, strlen(text));
        if (memmem(text, n, "permanent-secret", 16) != NULL)
            abort();
        atomic_fetch_add(&scanned, 1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct redact_entry *e = redact_add(SLICE_LIT("permanent-secret-7"), NULL);
    pthread_t t[3];
    (void)state;
    for (size_t i = 0; i < COUNT(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, scan, NULL), 0);
    for (int i = 0; i < 300 || atomic_load(&scanned) < 1000; i++)
        redact_remove(redact_add(SLICE_LIT("transient-secret-8"), NULL));
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT(t); i++)
        pthread_join(t[i], NULL);
    redact_remove(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_spellings), cmocka_unit_test(test_held_twice), cmocka_unit_test(test_log_lines),
                                        cmocka_unit_test(test_threads) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
