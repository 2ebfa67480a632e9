/* What happens when things break: kill -9, a full disk, locks, damaged and foreign files, long readers. */
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { PATIENCE = 12000 }; /* looks 10 ms apart */

static void nap(int ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

/* ---- kill -9 ----------------------------------------------------------------------------------------------------- */

struct promise {
    int64_t id;
    int64_t settled;
};

struct load {
    struct ledger *l;
    int pipe;
};

/* Tells the parent what is promised, then goes on: a decision is followed by its settlement, that by the next decision. */
static void go_on(struct ledger_op *op, enum ledger_result result)
{
    struct load *load = op->user;
    bool settled = op->kind == LEDGER_SETTLEMENT;
    struct promise p = { settled ? op->settlement.id : op->decision.id, settled };
    if (result != LEDGER_OK || write(load->pipe, &p, sizeof p) != (ssize_t)sizeof p)
        _exit(3);
    int64_t id = settled ? ledger_next_id(load->l) : p.id;
    *op = settled ? decision(id, T0 + id * 1000, LEDGER_OPEN) : settlement(id, id % 1000);
    op->done = go_on;
    op->user = load;
    ledger_submit(load->l, op);
}

static void child(const char *file, int pipe)
{
    static struct ledger_op ops[64];
    char why[300];
    struct load load = { ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why), pipe };
    if (!load.l)
        _exit(4);
    for (int i = 0; i < 64; i++) {
        int64_t id = ledger_next_id(load.l);
        ops[i] = decision(id, T0 + id * 1000, LEDGER_OPEN);
        ops[i].done = go_on;
        ops[i].user = &load;
        ledger_submit(load.l, &ops[i]);
    }
    for (;;)
        pause();
}

/* One round: returns the promises made before the kill. */
static size_t run_and_kill(const char *file, int ms, struct promise *out, size_t max)
{
    int ends[2], status;
    size_t n = 0;
    struct promise p;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        child(file, ends[1]);
    }
    close(ends[1]);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int64_t end = now.tv_sec * 1000 + now.tv_nsec / 1000000 + ms; now.tv_sec * 1000 + now.tv_nsec / 1000000 < end || n == 0;) {
        if (read(ends[0], &p, sizeof p) == (ssize_t)sizeof p && n < max)
            out[n++] = p;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (waitpid(pid, &status, WNOHANG) == pid)
            fail_msg("the writer ended by itself: %d", status);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    while (read(ends[0], &p, sizeof p) == (ssize_t)sizeof p && n < max)
        out[n++] = p;
    close(ends[0]);
    return n;
}

static void kept_promises(const char *file, const struct promise *made, size_t n)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT state FROM request_row WHERE id = ?1", -1, &s, NULL), SQLITE_OK);
    for (size_t i = 0; i < n; i++) {
        sqlite3_bind_int64(s, 1, made[i].id);
        if (sqlite3_step(s) != SQLITE_ROW)
            fail_msg("request %lld is gone", (long long)made[i].id);
        if (made[i].settled && sqlite3_column_int(s, 0) != LEDGER_SETTLED)
            fail_msg("the settlement of %lld is gone", (long long)made[i].id);
        sqlite3_reset(s);
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
}

/* More rounds for a long run: TOLLGATE_KILLS=200. */
static void survives_kill_9(void **state)
{
    enum { MAX = 400000 };
    struct place p;
    const char *rounds = getenv("TOLLGATE_KILLS");
    struct promise *made = calloc(MAX, sizeof *made);
    unsigned seed = 5;
    size_t total = 0;
    (void)state;
    place_make(&p);
    for (int i = 0; i < (rounds ? atoi(rounds) : 20); i++) {
        size_t n = run_and_kill(p.file, 5 + rand_r(&seed) % 60, made, MAX);
        struct ledger *l = open_ledger(p.file);
        int64_t next = ledger_next_id(l);
        ledger_close(l);
        kept_promises(p.file, made, n);
        assert_true(next > query(p.file, "SELECT max(id) FROM request_row"));
        assert_int_equal(query(p.file, "SELECT count(*) FROM rollup_mismatch"), 0);
        total += n;
    }
    assert_true(total > 0);
    print_message("%zu promises kept\n", total);
    free(made);
    place_remove(&p);
}

/* A WAL that was cut or damaged holds a prefix of the commits: rows and sums still agree. */
static void torn_wal(void **state)
{
    struct place p, q;
    char command[600], wal[128];
    (void)state;
    place_make(&p);
    place_make(&q);
    struct ledger *l = open_ledger(p.file);
    for (int i = 1; i <= 60; i++) {
        struct ledger_op d = decision(i, T0 + i, LEDGER_OPEN), s = settlement(i, 10);
        assert_int_equal(submit(l, &d), LEDGER_OK);
        assert_int_equal(submit(l, &s), LEDGER_OK);
    }
    int64_t before = 61;
    for (int cut = 1; cut < 400000; cut = cut * 3 + 1) {
        struct stat st;
        snprintf(command, sizeof command, "rm -f %s*; cp %s %s; cp %s-wal %s-wal", q.file, p.file, q.file, p.file, q.file);
        assert_int_equal(system(command), 0);
        snprintf(wal, sizeof wal, "%s-wal", q.file);
        assert_int_equal(stat(wal, &st), 0);
        if (cut >= st.st_size)
            break;
        if (cut % 2) {
            assert_int_equal(truncate(wal, st.st_size - cut), 0);
        } else {
            int fd = open(wal, O_WRONLY);
            assert_int_equal(pwrite(fd, "torn", 4, st.st_size - cut), 4);
            close(fd);
        }
        struct ledger *copy = open_ledger(q.file);
        int64_t rows = query(q.file, "SELECT count(*) FROM request_row");
        assert_true(rows <= before);
        before = rows;
        assert_int_equal(query(q.file, "SELECT count(*) FROM rollup_mismatch"), 0);
        struct ledger_op d = decision(ledger_next_id(copy), T0, LEDGER_OPEN);
        assert_int_equal(submit(copy, &d), LEDGER_OK);
        ledger_close(copy);
    }
    ledger_close(l);
    place_remove(&p);
    place_remove(&q);
}

/* ---- a ledger that cannot be written ------------------------------------------------------------------------------ */

struct flips {
    atomic_int failing, recovered;
};

static void on_state(void *user, const struct ledger_status *s)
{
    struct flips *f = user;
    atomic_fetch_add(s->failing ? &f->failing : &f->recovered, 1);
}

static struct ledger *open_watched(const char *file, struct flips *f, size_t retry_max, int64_t max_bytes)
{
    char why[300];
    struct ledger_options o = { .file = file, .on_state = on_state, .user = f, .busy_ms = 30, .retry_max = retry_max, .max_bytes = max_bytes };
    struct ledger *l = ledger_open(&o, why, sizeof why);
    if (!l)
        fail_msg("%s", why);
    return l;
}

static struct ledger_status status_of(struct ledger *l)
{
    struct ledger_status s;
    ledger_status(l, &s);
    return s;
}

static bool wait_until_recovered(struct ledger *l, struct answer *a)
{
    for (int i = 0; i < PATIENCE; i++) {
        pthread_mutex_lock(&a->lock);
        int missing = a->missing;
        pthread_mutex_unlock(&a->lock);
        if (missing == 0 && !status_of(l).failing)
            return true;
        nap(10);
    }
    return false;
}

/* Fills until refused; then a settlement must wait, and come through when `repair` has run. */
static void fails_and_recovers(struct ledger *l, const char *file, struct flips *f, void (*repair)(void *), void *user)
{
    int allowed = 0;
    struct ledger_op d = decision(ledger_next_id(l), T0, LEDGER_OPEN), s, at;
    int64_t id = d.decision.id;
    assert_int_equal(submit(l, &d), LEDGER_OK);
    if (user) /* what makes it fail */
        ((void (*)(void))user)();
    enum ledger_result result;
    do {
        d = decision(ledger_next_id(l), T0, LEDGER_OPEN);
        result = submit(l, &d);
        allowed += result == LEDGER_OK;
    } while (result == LEDGER_OK && allowed < 100000);
    assert_int_equal(result, LEDGER_FAILED);
    struct ledger_status st = status_of(l);
    assert_true(st.failing);
    assert_true(st.error[0] != '\0');
    assert_true(st.failing_since_us > 0);
    assert_int_equal(atomic_load(&f->failing), 1);
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 2, LEDGER_FAILED };
    s = settlement(id, 42);
    at = (struct ledger_op){ .kind = LEDGER_ATTEMPT, .attempt = { .id = id, .number = 1, .outcome = SLICE_LIT("ok") } };
    s.done = at.done = on_answer;
    s.user = at.user = &a;
    ledger_submit(l, &s);
    ledger_submit(l, &at);
    d = decision(ledger_next_id(l), T0, LEDGER_OPEN);
    assert_int_equal(submit(l, &d), LEDGER_FAILED);
    for (int i = 0; i < PATIENCE && status_of(l).retrying < 2; i++)
        nap(10);
    assert_int_equal(status_of(l).retrying, 2);
    assert_int_equal(a.missing, 2);
    repair(NULL);
    assert_true(wait_until_recovered(l, &a));
    assert_int_equal(a.last, LEDGER_OK);
    assert_int_equal(atomic_load(&f->recovered), atomic_load(&f->failing));
    d = decision(ledger_next_id(l), T0, LEDGER_OPEN);
    assert_int_equal(submit(l, &d), LEDGER_OK);
    assert_int_equal(query(file, "SELECT count(*) FROM request_row"), allowed + 2); /* what was refused is not there */
    assert_int_equal(query(file, "SELECT cost_nano FROM request_row WHERE state = 1"), 42);
    assert_int_equal(query(file, "SELECT count(*) FROM attempt_row"), 1);
    assert_int_equal(query(file, "SELECT count(*) FROM rollup_mismatch"), 0);
    assert_int_equal(status_of(l).dropped, 0);
}

static void unlimit(void *user)
{
    struct rlimit r;
    (void)user;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = r.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* Files cannot grow beyond a size: the same errors as a full disk. */
static void full_disk(void **state)
{
    struct place p;
    struct flips f = { 0, 0 };
    struct rlimit r;
    (void)state;
    place_make(&p);
    signal(SIGXFSZ, SIG_IGN);
    struct ledger *l = open_watched(p.file, &f, 0, 0);
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
    fails_and_recovers(l, p.file, &f, unlimit, NULL);
    ledger_close(l);
    place_remove(&p);
}

static sqlite3 *locker;

static void lock_file(void)
{
    assert_int_equal(sqlite3_exec(locker, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
}

static void unlock_file(void *user)
{
    (void)user;
    assert_int_equal(sqlite3_exec(locker, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
}

static void locked_by_another_program(void **state)
{
    struct place p;
    struct flips f = { 0, 0 };
    (void)state;
    place_make(&p);
    struct ledger *l = open_watched(p.file, &f, 0, 0);
    assert_int_equal(sqlite3_open(p.file, &locker), SQLITE_OK);
    sqlite3_busy_timeout(locker, BUSY_MS);
    fails_and_recovers(l, p.file, &f, unlock_file, (void *)lock_file);
    sqlite3_close(locker);
    ledger_close(l);
    place_remove(&p);
}

static void size_limit_and_bounded_memory(void **state)
{
    struct place p;
    struct flips f = { 0, 0 };
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 10, LEDGER_OK };
    struct ledger_op d, ops[10];
    enum ledger_result result;
    int64_t id = 0;
    (void)state;
    place_make(&p);
    struct ledger *l = open_watched(p.file, &f, 4, 400 << 10);
    do {
        d = decision(ledger_next_id(l), T0, LEDGER_OPEN);
        result = submit(l, &d);
    } while (result == LEDGER_OK && ++id < 100000);
    assert_int_equal(result, LEDGER_FAILED);
    assert_non_null(strstr(status_of(l).error, "full"));
    ledger_close(l);
    /* Nobody can write: of ten settlements four are kept, and at the end even these are given up, but answered. */
    l = open_watched(p.file, &f, 4, 0);
    assert_int_equal(sqlite3_open(p.file, &locker), SQLITE_OK);
    sqlite3_busy_timeout(locker, BUSY_MS);
    lock_file();
    for (int i = 0; i < 10; i++) {
        ops[i] = settlement(i + 1, 1);
        ops[i].done = on_answer;
        ops[i].user = &a;
        ledger_submit(l, &ops[i]);
    }
    for (int i = 0; i < PATIENCE && status_of(l).dropped < 6; i++)
        nap(10);
    assert_int_equal(status_of(l).dropped, 6);
    assert_int_equal(a.missing, 4);
    ledger_close(l);
    assert_int_equal(a.missing, 0);
    assert_int_equal(a.last, LEDGER_FAILED);
    unlock_file(NULL);
    sqlite3_close(locker);
    place_remove(&p);
}

/* ---- readers ----------------------------------------------------------------------------------------------------- */

static void write_many(struct ledger *l, int n)
{
    for (int i = 0; i < n; i++) {
        struct ledger_op d = decision(ledger_next_id(l), T0, LEDGER_OPEN);
        assert_int_equal(submit(l, &d), LEDGER_OK);
    }
}

static void a_long_reader_blocks_nobody(void **state)
{
    struct place p;
    sqlite3 *reader;
    sqlite3_stmt *s;
    (void)state;
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    write_many(l, 100);
    assert_int_equal(sqlite3_open_v2(p.file, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(reader, "SELECT id FROM request_row", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    write_many(l, 1500);
    int64_t grown = status_of(l).wal_bytes;
    assert_true(grown > 1500 * 4096);
    int seen = 1;
    while (sqlite3_step(s) == SQLITE_ROW)
        seen++;
    assert_int_equal(seen, 100); /* its own moment */
    sqlite3_finalize(s);
    sqlite3_close(reader);
    for (int i = 0;; i++) { /* written from the start again, as soon as the checkpoint's thread has had its turn */
        int64_t before = status_of(l).wal_bytes;
        write_many(l, 100);
        if (status_of(l).wal_bytes == before)
            break;
        assert_true(i < PATIENCE);
        nap(10);
    }
    assert_false(status_of(l).failing);
    ledger_close(l);
    struct stat st;
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", p.file);
    assert_true(stat(wal, &st) != 0 || st.st_size == 0);
    place_remove(&p);
}

/* The command-line shell, while the writer writes. */
static void the_shell_reads_along(void **state)
{
    struct place p;
    char command[300], line[100] = "";
    (void)state;
    if (system("command -v sqlite3 >/dev/null") != 0)
        skip();
    place_make(&p);
    struct ledger *l = open_ledger(p.file);
    write_many(l, 10);
    snprintf(command, sizeof command, "sqlite3 -readonly '%s' 'SELECT count(*), sum(hold_nano) FROM request; SELECT * FROM spend_by_team_day;'", p.file);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_string_equal(line, "10|50000000\n");
    assert_int_equal(pclose(f), 0);
    write_many(l, 1);
    ledger_close(l);
    place_remove(&p);
}

/* ---- files that are not ours -------------------------------------------------------------------------------------- */

static void refused(const char *file, const char *reason)
{
    char why[300] = "";
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (l || !strstr(why, reason))
        fail_msg("expected '%s', got '%s'", reason, why);
}

static void statement(const char *file, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void clear_refusals(void **state)
{
    struct place p;
    char other[128], why[300];
    struct stat st;
    (void)state;
    place_make(&p);
    snprintf(other, sizeof other, "%s/none/ledger.db", p.dir);
    refused(other, "directory does not exist");
    refused(p.dir, "Is a directory");
    snprintf(other, sizeof other, "%s/text", p.dir);
    FILE *f = fopen(other, "w");
    for (int i = 0; i < 2000; i++)
        fputs("not a database ", f);
    fclose(f);
    refused(other, "not an SQLite database");
    snprintf(other, sizeof other, "%s/foreign.db", p.dir);
    statement(other, "CREATE TABLE t (x)");
    refused(other, "another program");
    struct ledger *l = open_ledger(p.file);
    assert_int_equal(stat(p.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    refused(p.file, "in use by another");
    struct ledger_reader *r = ledger_reader_open(other, why, sizeof why);
    assert_null(r);
    assert_non_null(strstr(why, "another program"));
    ledger_close(l);
    char back[96];
    snprintf(back, sizeof back, "PRAGMA user_version = %d; DROP TABLE attempt_row; DROP VIEW attempt", (int)query(p.file, "PRAGMA user_version"));
    statement(p.file, "PRAGMA user_version = 99");
    refused(p.file, "run the newer tollgate");
    statement(p.file, back);
    refused(p.file, "not those of schema");
    assert_int_equal(chmod(p.file, 0666), 0);
    refused(p.file, "chmod o-w");
    assert_int_equal(chmod(p.file, 0600), 0);
    int fd = open(p.file, O_WRONLY);
    assert_int_equal(pwrite(fd, "garbage!garbage!", 16, 0), 16);
    close(fd);
    refused(p.file, "not an SQLite database");
    place_remove(&p);
}

int main(void)
{
    umask(022);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_kill_9), cmocka_unit_test(torn_wal), cmocka_unit_test(full_disk),
        cmocka_unit_test(locked_by_another_program), cmocka_unit_test(size_limit_and_bounded_memory),
        cmocka_unit_test(a_long_reader_blocks_nobody), cmocka_unit_test(the_shell_reads_along), cmocka_unit_test(clear_refusals)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
