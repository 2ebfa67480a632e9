/* Several keys: turns by weight, keys set aside and back, expiry, commands, what a reload takes over. */
#include "credential/credential.h"

#include "base/clock.h"
#include "base/log.h"
#include "credential/source.h"

#include <ev.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define S INT64_C(1000000)

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(dir, sizeof dir, "/tmp/credential-keys.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[96];
    (void)state;
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    return system(cmd);
}

static void write_file(const char *name, const char *text, mode_t mode, char path[128])
{
    char tmp[140];
    snprintf(path, 128, "%s/%s", dir, name);
    snprintf(tmp, sizeof tmp, "%s.new", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0 && close(fd) == 0);
    assert_int_equal(rename(tmp, path), 0);
}

static struct credential_store *open_store(const struct credential_options *o, size_t n, struct credential_store *previous)
{
    char why[600];
    struct credential_store *s = credential_store_new(o, n, previous, why, sizeof why);
    if (s == NULL)
        fail_msg("%s", why);
    return s;
}

/* Three keys of one provider, weights 3, 2, 1. */
struct trio {
    char path[3][128];
    struct credential_key keys[3];
    struct credential_options o;
};

static const char *const names[3] = { "blue", "green", NULL };

static void trio_make(struct trio *t)
{
    for (unsigned i = 0; i < 3; i++) {
        char name[8], text[20];
        snprintf(name, sizeof name, "k%u", i);
        snprintf(text, sizeof text, "sk-number-%u", i);
        write_file(name, text, 0600, t->path[i]);
        t->keys[i] = (struct credential_key){ .name = names[i], .secret = { .file = t->path[i] }, .weight = 3 - i };
    }
    t->o = (struct credential_options){ .name = "p", .scheme = "", .keys = t->keys, .key_count = 3 };
}

static struct credential_pick pick(struct credential_store *s, int64_t now)
{
    struct credential_pick p;
    struct credential_snapshot *c = credential_acquire(s);
    assert_int_equal(credential_pick(c, SLICE_LIT("p"), now, &p), CREDENTIAL_PICKED);
    assert_true(p.serial != 0);
    assert_true(names[p.key] != NULL ? slice_eq_cstr(p.name, names[p.key]) : p.name.n == 0);
    p.header = p.name = SLICE_NONE; /* the snapshot goes */
    credential_release(c);
    return p;
}

static void count_picks(struct credential_store *s, int64_t now, unsigned n, unsigned counts[3])
{
    memset(counts, 0, 3 * sizeof *counts);
    for (unsigned i = 0; i < n; i++)
        counts[pick(s, now).key]++;
}

static struct credential_state state_of(struct credential_store *s, size_t i, int64_t now)
{
    struct credential_state st;
    assert_true(credential_store_state(s, i, now, &st));
    return st;
}

static void test_turns_by_weight(void **state)
{
    struct trio t;
    unsigned n[3], last = 9, repeats = 0;
    (void)state;
    trio_make(&t);
    struct credential_store *s = open_store(&t.o, 1, NULL);
    count_picks(s, 0, 600, n);
    assert_true(n[0] == 300 && n[1] == 200 && n[2] == 100);
    for (unsigned i = 0; i < 60; i++) { /* smooth: not three times the same in a row */
        unsigned k = pick(s, 0).key;
        repeats = k == last ? repeats + 1 : 0;
        assert_true(repeats < 2);
        last = k;
    }
    struct credential_state st;
    assert_false(credential_store_state(s, 3, 0, &st));
    assert_int_equal(state_of(s, 1, 0).weight, 2);
    assert_string_equal(state_of(s, 1, 0).kind, "file");
    assert_string_equal(state_of(s, 1, 0).key_name, "green");
    assert_string_equal(state_of(s, 2, 0).key_name, "");
    credential_store_free(s);
}

static void report(struct credential_store *s, uint32_t serial, int status, int64_t retry_after, int64_t now)
{
    credential_report(s, SLICE_LIT("p"), serial, status, retry_after, now);
}

static void test_set_aside(void **state)
{
    struct trio t;
    unsigned n[3];
    int64_t now = clock_mono_us();
    uint32_t serial[3] = { 0 };
    (void)state;
    trio_make(&t);
    struct credential_store *s = open_store(&t.o, 1, NULL);
    for (unsigned i = 0; i < 6; i++) {
        struct credential_pick p = pick(s, now);
        serial[p.key] = p.serial;
    }
    report(s, serial[0], 200, -1, now);
    report(s, 12345678, 401, -1, now); /* nobody's */
    report(s, 0, 401, -1, now);
    credential_report(s, SLICE_LIT("q"), serial[0], 401, -1, now);
    count_picks(s, now, 6, n);
    assert_true(n[0] == 3 && n[1] == 2 && n[2] == 1);
    report(s, serial[0], 401, -1, now);
    report(s, serial[0], 401, -1, now); /* requests that were on their way together count once */
    assert_true(state_of(s, 0, now).aside);
    assert_int_equal(state_of(s, 0, now).back_in_s, 30);
    assert_int_equal(state_of(s, 0, now).refused, 2);
    count_picks(s, now, 30, n);
    assert_true(n[0] == 0 && n[1] == 20 && n[2] == 10);
    report(s, serial[0], 200, -1, now); /* sent before: says nothing while others are asked */
    assert_true(state_of(s, 0, now).aside);
    /* throttled, for as long as the provider says */
    report(s, serial[1], 429, 7, now);
    assert_int_equal(state_of(s, 1, now).back_in_s, 7);
    report(s, serial[1], 429, 20, now);
    assert_int_equal(state_of(s, 1, now).back_in_s, 20);
    report(s, serial[2], 403, -1, now);
    /* all aside: the one that is back first is asked, and a good answer makes it good */
    assert_int_equal(pick(s, now).key, 1);
    report(s, serial[1], 200, -1, now);
    assert_false(state_of(s, 1, now).aside);
    assert_int_equal(pick(s, now).key, 1);
    /* the next time it takes longer */
    report(s, serial[0], 401, -1, now + 31 * S);
    assert_int_equal(state_of(s, 0, now + 31 * S).back_in_s, 60);
    for (int i = 0; i < 12; i++)
        report(s, serial[0], 401, -1, now + (i + 2) * 1000 * S);
    assert_int_equal(state_of(s, 0, now + 13 * 1000 * S).back_in_s, 900);
    credential_store_free(s);
}

/* A second try: another key, without taking its turn, and none that is set aside. */
static void test_another_key(void **state)
{
    struct trio t;
    int64_t now = clock_mono_us();
    struct credential_pick other = { .serial = 0 };
    uint32_t serial[3] = { 0 };
    (void)state;
    trio_make(&t);
    struct credential_store *s = open_store(&t.o, 1, NULL);
    for (unsigned i = 0; i < 6; i++) {
        struct credential_pick p = pick(s, now);
        serial[p.key] = p.serial;
    }
    struct credential_snapshot *c = credential_acquire(s);
    assert_true(credential_spare(c, slice_cstr(t.o.name), now));
    assert_false(credential_spare(c, SLICE_LIT("nobody"), now));
    assert_false(credential_pick_other(c, SLICE_LIT("nobody"), 0, now, &other));
    for (unsigned k = 0; k < 3; k++) {
        assert_true(credential_pick_other(c, slice_cstr(t.o.name), k, now, &other));
        assert_int_not_equal(other.key, k);
        assert_int_equal(other.serial, serial[other.key]);
    }
    credential_release(c);
    report(s, serial[0], 401, -1, now);
    report(s, serial[1], 401, -1, now);
    c = credential_acquire(s);
    assert_false(credential_spare(c, slice_cstr(t.o.name), now));
    assert_false(credential_pick_other(c, slice_cstr(t.o.name), 2, now, &other));
    assert_true(credential_pick_other(c, slice_cstr(t.o.name), 0, now, &other));
    assert_int_equal(other.key, 2);
    credential_release(c);
    credential_store_free(s);
}

/* A refused key whose file already holds another: read at once, and used. */
static void test_refused_key_is_read_again(void **state)
{
    struct trio t;
    char path[128];
    int64_t now = clock_mono_us();
    (void)state;
    trio_make(&t);
    t.o.key_count = 1;
    struct credential_store *s = open_store(&t.o, 1, NULL);
    uint32_t old = pick(s, now).serial;
    write_file("k0", "sk-number-new", 0600, path);
    report(s, old, 401, -1, now);
    struct credential_pick p = pick(s, now);
    assert_true(p.serial != old);
    assert_false(state_of(s, 0, now).aside);
    report(s, old, 401, -1, now); /* late answers to the old one */
    assert_false(state_of(s, 0, now).aside);
    credential_store_free(s);
}

static void test_reload_takes_over(void **state)
{
    struct trio t, u;
    int64_t now = clock_mono_us();
    (void)state;
    trio_make(&t);
    struct credential_store *s = open_store(&t.o, 1, NULL);
    struct credential_pick p = pick(s, now);
    report(s, p.serial, 401, -1, now);
    u = t;
    struct credential_key turned[] = { t.keys[2], t.keys[1], t.keys[0] };
    u.o.keys = turned; /* the order changes, the sources stay */
    struct credential_store *next = open_store(&u.o, 1, s);
    credential_store_free(s);
    assert_int_equal(p.key, 0);
    assert_true(state_of(next, 2, now).aside);
    report(next, p.serial, 401, 0, now + 31 * S); /* answers to requests of the old store are heard by the new one */
    assert_int_equal(state_of(next, 2, now + 31 * S).back_in_s, 60);
    credential_store_free(next);
}

static void write_aws(int64_t lifetime_s, char path[128])
{
    char text[256], when[32];
    time_t end = time(NULL) + (time_t)lifetime_s;

    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&end));
    snprintf(text, sizeof text, "{\"AccessKeyId\":\"AKID\",\"SecretAccessKey\":\"a-secret-key\",\"Expiration\":\"%s\"}", when);
    write_file("aws", text, 0600, path);
}

static void test_expired_keys_are_not_used(void **state)
{
    char path[128], why[600];
    struct credential_pick p;
    struct ev_loop *loop = ev_default_loop(0);
    (void)state;
    write_aws(3600, path);
    struct credential_aws aws = { .region = "eu-west-1" };
    struct credential_key key = { .secret = { .file = path } };
    struct credential_options o = { .name = "p", .aws = &aws, .keys = &key, .key_count = 1 };
    struct credential_store *s = open_store(&o, 1, NULL);
    struct credential_snapshot *c = credential_acquire(s);
    assert_int_equal(credential_pick(c, SLICE_LIT("p"), clock_mono_us(), &p), CREDENTIAL_PICKED);
    assert_true(p.header.p == NULL && p.aws != NULL);
    assert_string_equal(p.aws->id, "AKID");
    assert_string_equal(p.signing->region, "eu-west-1");
    assert_string_equal(p.signing->service, "bedrock");
    assert_true(credential_usable(c, SLICE_LIT("p"), clock_mono_us()));
    /* at the instant, in the snapshot a request holds */
    assert_int_equal(credential_pick(c, SLICE_LIT("p"), clock_mono_us() + 3601 * S, &p), CREDENTIAL_NONE);
    assert_false(credential_usable(c, SLICE_LIT("p"), clock_mono_us() + 3601 * S));
    credential_release(c);
    credential_store_free(s);
    /* and wiped by the loop: of a key that ends soon, but is not over before it is read */
    s = NULL;
    for (int64_t lifetime_s = 1; s == NULL && lifetime_s < 300; lifetime_s *= 2) {
        write_aws(lifetime_s, path);
        s = credential_store_new(&o, 1, NULL, why, sizeof why);
    }
    assert_non_null(s);
    assert_int_equal(credential_store_start(s, loop, NULL), 0);
    log_set_fd(open("/dev/null", O_WRONLY));
    while (state_of(s, 0, 0).valid)
        ev_run(loop, EVRUN_ONCE);
    log_set_fd(STDERR_FILENO);
    credential_store_free(s);
    /* expired when it is read: an error at start */
    assert_null(credential_store_new(&o, 1, NULL, why, sizeof why));
    assert_non_null(strstr(why, "it has expired"));
    assert_null(strstr(why, "a-secret-key"));
}

/* ---- commands ----------------------------------------------------------------------------------------------------------- */

static void script(const char *name, const char *body, char path[128])
{
    char text[1024];
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", body);
    write_file(name, text, 0700, path);
}

static void test_commands(void **state)
{
    static const struct {
        const char *body, *header; /* header NULL: it fails with `why` */
        const char *why;
        int64_t expires_in_s;
    } rows[] = {
        { "echo sk-from-command", "Bearer sk-from-command", NULL, -1 },
        { "printf '{\"access_token\":\"tok\\\\u0041\",\"expires_in\":3600}'", "Bearer tokA", NULL, 3600 },
        { "echo \"$SECRET_OF_OURS-$#-$1-`ls /proc/self/fd | wc -l`\"", "Bearer -2-two words-4", NULL, -1 }, /* 0, 1, 2 and ls's own */
        { "sleep 300 & echo sk-left-a-child", "Bearer sk-left-a-child", NULL, -1 },
        { "exit 3", NULL, "ended with status 3", 0 },
        { "kill -9 $$", NULL, "ended with signal 9", 0 },
        { "true", NULL, "the value is empty", 0 },
        { "echo '{\"oops\":'", NULL, "cannot be used", 0 },
        { "yes", NULL, "printed more than", 0 },
        { "echo one; echo two", NULL, "more than one line", 0 },
        { "sleep 300", NULL, "did not end within 1 s", 0 },
    };
    struct ev_loop *loop = ev_default_loop(0);
    (void)state;
    setenv("SECRET_OF_OURS", "leaked", 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        char path[128];
        script("command", rows[i].body, path);
        struct credential_command command = { .argv = (const char *const[]){ path, "two words", "*" }, .argc = 3,
                                              .timeout_s = rows[i].why && strstr(rows[i].why, "within") ? 1 : 60 };
        struct credential_key key = { .command = &command };
        struct credential_options o = { .name = "p", .keys = &key, .key_count = 1 };
        struct credential_store *s = open_store(&o, 1, NULL);
        struct credential_snapshot *c = credential_acquire(s);
        assert_false(credential_usable(c, SLICE_LIT("p"), 0)); /* nothing yet: refused, not sent without */
        credential_release(c);
        int quiet = open("/dev/null", O_WRONLY);
        log_set_fd(quiet);
        assert_int_equal(credential_store_start(s, loop, NULL), 0);
        while (!state_of(s, 0, 0).valid && state_of(s, 0, 0).failures == 0)
            ev_run(loop, EVRUN_ONCE);
        log_set_fd(STDERR_FILENO);
        close(quiet);
        c = credential_acquire(s);
        struct credential_pick p;
        enum credential_found found = credential_pick(c, SLICE_LIT("p"), clock_mono_us(), &p);
        if (rows[i].header != NULL) {
            if (found != CREDENTIAL_PICKED || !slice_eq_cstr(p.header, rows[i].header))
                fail_msg("row %zu: %s%.*s", i, state_of(s, 0, 0).error, SLICE_FMT(p.header));
            int64_t left = state_of(s, 0, clock_mono_us()).expires_in_s;
            assert_true(rows[i].expires_in_s < 0 ? left == -1 : left > rows[i].expires_in_s - 60 && left <= rows[i].expires_in_s);
        } else {
            assert_int_equal(found, CREDENTIAL_NONE);
            if (strstr(state_of(s, 0, 0).error, rows[i].why) == NULL)
                fail_msg("row %zu: %s", i, state_of(s, 0, 0).error);
        }
        credential_release(c);
        credential_store_free(s);
    }
}

/* Freed while the program runs: it is killed, and nothing is called. */
static void test_command_cancelled(void **state)
{
    char path[128];
    struct ev_loop *loop = ev_default_loop(0);
    (void)state;
    script("slow", "sleep 300", path);
    struct credential_command command = { .argv = (const char *const[]){ path }, .argc = 1 };
    struct credential_key key = { .command = &command };
    struct credential_options o = { .name = "p", .keys = &key, .key_count = 1 };
    struct credential_store *s = open_store(&o, 1, NULL);
    assert_int_equal(credential_store_start(s, loop, NULL), 0);
    ev_run(loop, EVRUN_NOWAIT);
    credential_store_free(s);
    ev_run(loop, EVRUN_NOWAIT);
}

static bool count_value(void *user, struct slice text, int64_t lifetime_s, char *why, size_t why_size)
{
    (void)text, (void)lifetime_s, (void)why, (void)why_size;
    ++*(unsigned *)user;
    return true;
}

static void not_failed(void *user, const char *why, double again_s)
{
    (void)user, (void)again_s;
    fail_msg("%s", why);
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* However often it is asked for, one fetch is under way; what was asked for meanwhile is answered by it. */
static void test_one_fetch_at_a_time(void **state)
{
    char path[128], go[128], begun[160], body[512];
    struct ev_loop *loop = ev_default_loop(0);
    struct env_pool *pool = env_pool_new();
    unsigned values = 0;

    (void)state;
    write_file("go", "", 0600, go);
    unlink(go);
    snprintf(begun, sizeof begun, "%s.begun", go);
    snprintf(body, sizeof body, "printf x >>%s; until [ -e %s ]; do sleep 0.02; done; echo sk-single", begun, go);
    script("held", body, path);
    struct credential_command command = { .argv = (const char *const[]){ path }, .argc = 1, .timeout_s = 300 };
    struct credential_key key = { .command = &command };
    struct key_source *s = key_source_new(&key, pool);
    assert_non_null(s);
    s->to = (struct key_source_user){ .value = count_value, .failed = not_failed, .user = &values };
    key_source_start(s, loop, NULL, 0);
    while (size_of(begun) == 0)
        ev_run(loop, EVRUN_NOWAIT);
    for (int i = 0; i < 50; i++) {
        key_source_fetch(s, 0);
        ev_run(loop, EVRUN_NOWAIT);
    }
    write_file("go", "", 0600, go);
    while (values == 0)
        ev_run(loop, EVRUN_ONCE);
    assert_int_equal(s->fetches, 1);
    assert_int_equal(size_of(begun), 1);
    key_source_fetch(s, 3600); /* too soon after the last */
    assert_int_equal(s->fetches, 1);
    key_source_fetch(s, 0);
    while (values == 1)
        ev_run(loop, EVRUN_ONCE);
    assert_int_equal(s->fetches, 2);
    assert_int_equal(size_of(begun), 2);
    key_source_free(s);
    env_pool_unref(pool);
    unlink(begun);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_by_weight),   cmocka_unit_test(test_set_aside), cmocka_unit_test(test_another_key),
        cmocka_unit_test(test_refused_key_is_read_again), cmocka_unit_test(test_reload_takes_over),
        cmocka_unit_test(test_expired_keys_are_not_used), cmocka_unit_test(test_commands),
        cmocka_unit_test(test_command_cancelled), cmocka_unit_test(test_one_fetch_at_a_time),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
