/* Credentials: sources, validation, rotation under snapshots, what is left in the process's environment. */
#include "credential/credential.h"

#include "base/clock.h"
#include "base/log.h"

#include <ev.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
/* A credential of one key. */
#define ONE_KEY(...) .keys = (const struct credential_key[]){ { __VA_ARGS__ } }, .key_count = 1
#define FROM_FILE(f) ONE_KEY(.secret = { .file = (f) })
#define FROM_ENV(e) ONE_KEY(.secret = { .env = (e) })

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/credential.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[96];
    (void)state;
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    return system(cmd);
}

static const char *write_key(const char *name, const char *text, size_t n, mode_t mode)
{
    static char path[128];
    char tmp[140];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(tmp, sizeof tmp, "%s.new", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n && fchmod(fd, mode) == 0 && close(fd) == 0);
    assert_int_equal(rename(tmp, path), 0);
    return path;
}

static const char *key_file(const char *name, const char *text)
{
    return write_key(name, text, strlen(text), 0600);
}

static struct credential_store *open_store(const struct credential_options *o, size_t n, struct credential_store *previous)
{
    char why[600];
    struct credential_store *s = credential_store_new(o, n, previous, why, sizeof why);
    if (s == NULL)
        fail_msg("%s", why);
    return s;
}

static void expect(struct credential_snapshot *c, const char *name, const char *wanted)
{
    struct credential_pick p;
    assert_int_equal(credential_pick(c, slice_cstr(name), clock_mono_us(), &p), CREDENTIAL_PICKED);
    if (!slice_eq_cstr(p.header, wanted))
        fail_msg("%s: not \"%s\"", name, wanted);
}

static struct slice header_of(struct credential_snapshot *c, const char *name)
{
    struct credential_pick p;
    assert_int_equal(credential_pick(c, slice_cstr(name), clock_mono_us(), &p), CREDENTIAL_PICKED);
    return p.header;
}

/* True when the bytes stand in the file, which need not be text. */
static bool file_holds(const char *path, const char *what)
{
    static char buf[1 << 20];
    int fd = open(path, O_RDONLY);
    ssize_t n, all = 0;
    assert_true(fd >= 0);
    while ((n = read(fd, buf + all, sizeof buf - (size_t)all)) > 0)
        all += n;
    close(fd);
    return memmem(buf, (size_t)all, what, strlen(what)) != NULL;
}

/* ---- ------------------------------------------------------------------------------------------------------------------- */

static void test_sources_and_schemes(void **state)
{
    char f[128];
    (void)state;
    snprintf(f, sizeof f, "%s", key_file("openai", "sk-from-file-1\n"));
    setenv("TEST_KEY_ENV", "sk-from-env-1", 1);
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    write_key("sysd", "sk-from-systemd\n", 16, 0440);
    struct credential_options o[] = {
        { .name = "a", FROM_FILE(f) }, { .name = "b", FROM_ENV("TEST_KEY_ENV"), .scheme = "" },
        { .name = "c", ONE_KEY(.secret = { .systemd = "sysd" }), .scheme = "Token" },
        { .name = "d", FROM_ENV("TEST_KEY_ENV") }, /* two headers from one variable */
    };
    struct credential_store *s = open_store(o, COUNT(o), NULL);
    struct credential_snapshot *c = credential_acquire(s);
    expect(c, "a", "Bearer sk-from-file-1");
    expect(c, "b", "sk-from-env-1");
    expect(c, "c", "Token sk-from-systemd");
    expect(c, "d", "Bearer sk-from-env-1");
    struct credential_pick p;
    assert_int_equal(credential_pick(c, SLICE_LIT("e"), 0, &p), CREDENTIAL_UNKNOWN);
    assert_null(getenv("TEST_KEY_ENV"));
    /* a reload of the configuration has the variable no more, the running store has its value */
    struct credential_options again[] = { { .name = "d", FROM_ENV("TEST_KEY_ENV"), .scheme = "" } };
    struct credential_store *next = open_store(again, 1, s);
    struct credential_snapshot *c2 = credential_acquire(next);
    expect(c2, "d", "sk-from-env-1");
    credential_store_free(s);
    expect(c, "a", "Bearer sk-from-file-1"); /* a snapshot outlives its store */
    credential_release(c);
    credential_release(c2);
    credential_store_free(next);
}

static void test_refused(void **state)
{
    static char long_key[CREDENTIAL_MAX + 1];
    memset(long_key, 'k', sizeof long_key - 1);
    const struct {
        const char *text;
        size_t n;
        mode_t mode;
        const char *says;
    } files[] = {
        { "SECRETkey", 9, 0644, "chmod 600" },
        { "SECRETkey", 9, 0620, "chmod 600" },
        { "", 0, 0600, "is empty" },
        { "\n", 1, 0600, "is empty" },
        { " SECRETkey", 10, 0600, "begins or ends with a blank" },
        { "SECRETkey \n", 11, 0600, "begins or ends with a blank" },
        { "SECRETkey\n\n", 11, 0600, "more than one line" },
        { "SECRET\r\nX-Evil: 1", 17, 0600, "more than one line" },
        { "SECRET\0key", 10, 0600, "not printable ASCII" },
        { "SECRET\x7f", 7, 0600, "not printable ASCII" },
        { "SECRET\xc3\xa4", 8, 0600, "not printable ASCII" },
        { "{\"k\":\"SECRET\"}", 14, 0600, "JSON object" },
        { "SECRET\tkey", 10, 0600, "not printable ASCII" },
        { long_key, sizeof long_key - 1, 0600, "longer than 16384 bytes" },
    };
    char why[600];
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        struct credential_options o = { .name = "main", FROM_FILE(write_key("bad", files[i].text, files[i].n, files[i].mode)) };
        assert_null(credential_store_new(&o, 1, NULL, why, sizeof why));
        if (strstr(why, files[i].says) == NULL || strstr(why, "credentials[0] (main): ") == NULL)
            fail_msg("row %zu: %s", i, why);
        assert_null(strstr(why, "SECRET"));
        assert_null(strstr(why, "kkkk"));
    }
    const struct {
        struct credential_options o;
        const char *says;
    } rows[] = {
        { { .name = "x" }, "give 1 to 16 keys" },
        { { .name = "x", ONE_KEY(.weight = 1) }, "exactly one of file, env, systemd" },
        { { .name = "x", ONE_KEY(.secret = { .file = "/a", .env = "B" }) }, "exactly one of" },
        { { FROM_FILE("/a") }, "a name is required" },
        { { .name = "x", FROM_FILE("/nonexistent/key") }, "/nonexistent/key: No such file" },
        { { .name = "x", FROM_FILE("/dev/null") }, "not a regular file" },
        { { .name = "x", FROM_ENV("TEST_KEY_UNSET") }, "TEST_KEY_UNSET is not set" },
        { { .name = "x", ONE_KEY(.secret = { .systemd = "../x" }) }, "without a path" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_null(credential_store_new(&rows[i].o, 1, NULL, why, sizeof why));
        if (strstr(why, rows[i].says) == NULL)
            fail_msg("row %zu: %s", i, why);
    }
    char f[128];
    snprintf(f, sizeof f, "%s", key_file("twice", "sk-12345678"));
    struct credential_options twice[] = { { .name = "x", FROM_FILE(f) }, { .name = "x", FROM_FILE(f) } };
    assert_null(credential_store_new(twice, 2, NULL, why, sizeof why));
    assert_non_null(strstr(why, "credentials[1] (x): the name stands there twice"));
    struct credential_options scheme = { .name = "x", FROM_FILE(f), .scheme = "Bearer\r\nX" };
    assert_null(credential_store_new(&scheme, 1, NULL, why, sizeof why));
    assert_non_null(strstr(why, "one word"));
}

static void test_rotation_keeps_what_is_in_use(void **state)
{
    char f[128], log_path[128], line[64];
    (void)state;
    snprintf(log_path, sizeof log_path, "%s/log", dir);
    int log = open(log_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    log_set_fd(log);
    snprintf(f, sizeof f, "%s", key_file("rot", "sk-canary-000"));
    struct credential_options o = { .name = "a", FROM_FILE(f) };
    struct credential_store *s = open_store(&o, 1, NULL);
    struct credential_snapshot *old = credential_acquire(s);
    assert_int_equal(credential_store_reload(s), 0);
    key_file("rot", "sk-canary-111");
    assert_int_equal(credential_store_reload(s), 1);
    struct credential_snapshot *new = credential_acquire(s);
    expect(old, "a", "Bearer sk-canary-000");
    expect(new, "a", "Bearer sk-canary-111");
    assert_true(credential_generation(new) > credential_generation(old));
    credential_release(old);
    /* bad files leave the last good value */
    key_file("rot", "");
    assert_int_equal(credential_store_reload(s), 0);
    write_key("rot", "sk-canary-222", 13, 0644);
    assert_int_equal(credential_store_reload(s), 0);
    unlink(f);
    assert_int_equal(credential_store_reload(s), 0);
    struct credential_snapshot *still = credential_acquire(s);
    expect(still, "a", "Bearer sk-canary-111");
    credential_release(still);
    credential_release(new);
    credential_store_free(s);
    log_set_fd(STDERR_FILENO);
    close(log);
    assert_true(file_holds(log_path, "credential_kept credential=a"));
    assert_true(file_holds(log_path, "credential_changed credential=a"));
    snprintf(line, sizeof line, "sk-%s", "canary"); /* no value, whole or in part, reached the log */
    assert_false(file_holds(log_path, line));
}

static void test_watched_file(void **state)
{
    char f[128];
    struct ev_loop *loop = ev_loop_new(0);
    (void)state;
    snprintf(f, sizeof f, "%s", key_file("watched", "sk-first-1"));
    struct credential_options o = { .name = "a", FROM_FILE(f), .scheme = "" };
    struct credential_store *s = open_store(&o, 1, NULL);
    assert_int_equal(credential_store_start(s, loop, NULL), 0);
    key_file("watched", "sk-other-2"); /* same length, same second */
    int64_t end = clock_mono_us() + 120 * INT64_C(1000000);
    for (bool seen = false; !seen;) {
        assert_true(clock_mono_us() < end);
        ev_run(loop, EVRUN_NOWAIT);
        struct credential_snapshot *c = credential_acquire(s);
        seen = slice_eq_cstr(header_of(c, "a"), "sk-other-2");
        credential_release(c);
        usleep(5000);
    }
    credential_store_free(s);
    ev_loop_destroy(loop);
}

/* ---- threads: whoever holds a snapshot sees whole values ------------------------------------------------------------------ */

struct reader {
    struct credential_store *s;
    atomic_bool stop;
    atomic_int torn;
    atomic_long reads;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    while (!atomic_load(&r->stop)) {
        struct credential_snapshot *c = credential_acquire(r->s);
        struct slice v = header_of(c, "a");
        for (size_t i = 8; i < v.n; i++)
            if (v.p[i] != v.p[7])
                atomic_fetch_add(&r->torn, 1);
        atomic_fetch_add(&r->reads, 1);
        credential_release(c);
    }
    return NULL;
}

static void test_rotation_under_readers(void **state)
{
    char f[128], key[40] = "";
    pthread_t t[3];
    (void)state;
    memset(key, 'a', sizeof key - 1);
    snprintf(f, sizeof f, "%s", key_file("busy", key));
    struct credential_options o = { .name = "a", FROM_FILE(f) };
    struct reader r = { .s = open_store(&o, 1, NULL) };
    for (size_t i = 0; i < COUNT(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, read_on, &r), 0);
    log_set_level(LOG_LEVEL_ERROR);
    for (int i = 0; i < 200; i++) {
        long before = atomic_load(&r.reads);
        while (i % 20 == 0 && atomic_load(&r.reads) == before) /* the readers do read, however late they begin */
            usleep(100);
        memset(key, 'a' + (i + 1) % 26, sizeof key - 1);
        key_file("busy", key);
        assert_int_equal(credential_store_reload(r.s), 1);
    }
    log_set_level(LOG_LEVEL_INFO);
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < COUNT(t); i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&r.torn), 0);
    credential_store_free(r.s);
}

/* ---- the process ------------------------------------------------------------------------------------------------------------ */

/* Runs itself anew with a key in its first environment block, which is what /proc/PID/environ shows. */
static void test_environ_is_wiped(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        setenv("TEST_CANARY_KEY", "sk-environ-canary-77", 1);
        execl("/proc/self/exe", "test_credential", "environ", (char *)NULL);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int environ_child(void)
{
    char why[256];
    struct credential_options o = { .name = "a", FROM_ENV("TEST_CANARY_KEY") };
    struct credential_hardening h;

    if (!file_holds("/proc/self/environ", "sk-environ-canary-77"))
        return 1;
    struct credential_store *s = credential_store_new(&o, 1, NULL, why, sizeof why);
    if (s == NULL || file_holds("/proc/self/environ", "sk-environ-canary-77"))
        return 2;
    credential_harden_process(&h);
    struct rlimit core;
    if (!h.undumpable || !h.no_core || getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0)
        return 3;
    credential_store_free(s);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "environ") == 0)
        return environ_child();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources_and_schemes), cmocka_unit_test(test_refused), cmocka_unit_test(test_rotation_keeps_what_is_in_use),
        cmocka_unit_test(test_watched_file), cmocka_unit_test(test_rotation_under_readers),
        cmocka_unit_test(test_environ_is_wiped),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
