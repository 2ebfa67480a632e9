/* How fast the ledger takes rows: decisions and settlements in groups as they come from a loop, with synchronous=FULL and roll-ups.
 *
 *   bench_ledger_rate [rows] [group] [users] [file]   (default 200000 50 500, a temporary file in the current directory)
 *   bench_ledger_rate curve LARGEST                   (10000 up to 10000000: the same at 10^4, 10^5, ... existing rows)
 *
 * Prints rows per second and CPU per row for decisions alone and for settlements alone, the longest commit, then how long reports
 * take. A row that exists stays. The curve fills a file with requests of 400 days, 500 users and 8 models, and at each size compares
 * with an empty ledger that is written to by turns with it, so that both see the same machine. */
#include "base/clock.h"
#include "ledger/ledger.h"
#include "ledger/read.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <unistd.h>

enum { USERS_MAX = 10000, CURVE_ROWS = 20000, CURVE_GROUP = 50, CURVE_TURNS = 3, CURVE_USERS = 500, FILL_GROUP = 1000, DAYS = 400 };

struct group {
    pthread_mutex_t lock;
    pthread_cond_t empty;
    size_t missing;
    size_t failed;
};

static void on_done(struct ledger_op *op, enum ledger_result result)
{
    struct group *g = op->user;
    pthread_mutex_lock(&g->lock);
    g->failed += result != LEDGER_OK;
    if (--g->missing == 0)
        pthread_cond_signal(&g->empty);
    pthread_mutex_unlock(&g->lock);
}

static int64_t cpu_us(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * INT64_C(1000000) + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}

static char users[USERS_MAX][24], teams[100][24];
static const char *const models[] = { "gpt-4o", "gpt-4o-mini", "o3", "gpt-4.1", "claude-sonnet-4-5", "claude-haiku-4-5", "mistral-large", "gpt-5" };

static const char *model_of(int64_t id)
{
    return models[id * 7 % 31 % 8];
}

/* Random, as HAProxy's %[uuid()] is. */
static void fill_decision(struct ledger_op *op, char name[40], int64_t id, int64_t at, int n_users)
{
    int user = rand() % n_users;
    snprintf(name, 40, "%08x-%04x-4%03x-a%03x-%012x", (unsigned)rand(), rand() & 0xffff, rand() & 0xfff, rand() & 0xfff, (unsigned)rand());
    op->kind = LEDGER_DECISION;
    op->decision = (struct ledger_decision){
        .id = id, .request_id = slice_cstr(name), .started_us = at,
        .who = { SLICE_LIT("acme"), slice_cstr(teams[user % 50]), slice_cstr(users[user]), SLICE_LIT("assistant"), slice_cstr(teams[50 + user % 20]),
                 slice_cstr(users[user]), SLICE_LIT("https://login.acme.example/oidc") },
        .alias = SLICE_LIT("chat-default"), .stream = true, .primary = { SLICE_LIT("openai-eu"), SLICE_LIT("openai"), slice_cstr(model_of(id)) },
        .fallback = { SLICE_LIT("azure-eu"), SLICE_LIT("azure"), SLICE_LIT("gpt-4o") }, .input_tokens = 512, .input_bound = 512,
        .output_ceiling = 1024, .choices = 1, .hold_nano = 11520000, .price_version = INT64_C(0x123456789abc), .body_bytes = 2048,
        .identity_us = 1, .tokens_us = 8, .budget_us = 1
    };
}

static void fill_settlement(struct ledger_op *op, int64_t id, int64_t at)
{
    op->kind = LEDGER_SETTLEMENT;
    op->settlement = (struct ledger_settlement){
        .id = id, .settled_us = at, .known_by = KNOWN_REPORTED, .http_status = 200, .outcome = SLICE_LIT("ok"),
        .served = { SLICE_LIT("openai-eu"), SLICE_LIT("openai"), slice_cstr(model_of(id)) }, .usage = { .input = 512, .output = 300 },
        .cost_nano = 4280000, .provider_cost_nano = -1, .price_version = INT64_C(0x123456789abc), .ttft_us = 400000, .tpot_ns = 12000000,
        .total_us = 4000000, .attempts = 1, .response_bytes = 60000, .commit_us = 300
    };
}

struct speed {
    int64_t us, cpu_us, longest_us;
    size_t rows, failed;
};

/* One group after the other: the next starts when the last is committed. Requests start `step_us` apart, from `at`. */
static void pass(struct ledger *l, bool decide, int64_t first, size_t rows, size_t size, int n_users, int64_t at, int64_t step_us, struct speed *sum)
{
    struct group g = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };
    struct ledger_op *ops = calloc(size, sizeof *ops);
    char (*names)[40] = calloc(size, sizeof *names);
    int64_t start = clock_mono_us(), cpu = cpu_us();
    for (size_t done = 0; ops && names && done < rows; done += size) {
        int64_t began = clock_mono_us();
        g.missing = size;
        for (size_t i = 0; i < size; i++) {
            int64_t id = first + (int64_t)(done + i), when = at + (int64_t)(done + i) * step_us;
            if (decide)
                fill_decision(&ops[i], names[i], id, when, n_users);
            else
                fill_settlement(&ops[i], id, when);
            ops[i].done = on_done;
            ops[i].user = &g;
            ledger_submit(l, &ops[i]);
        }
        pthread_mutex_lock(&g.lock);
        while (g.missing)
            pthread_cond_wait(&g.empty, &g.lock);
        pthread_mutex_unlock(&g.lock);
        int64_t took = clock_mono_us() - began;
        sum->longest_us = took > sum->longest_us ? took : sum->longest_us;
    }
    sum->us += clock_mono_us() - start;
    sum->cpu_us += cpu_us() - cpu;
    sum->rows += rows;
    sum->failed += g.failed;
    free(ops);
    free(names);
}

static double rate(const struct speed *s)
{
    return (double)s->rows * 1e6 / (double)s->us;
}

static void print_pass(struct ledger *l, const char *what, int64_t first, size_t rows, size_t size, int n_users, int64_t at)
{
    struct speed s = { 0 };
    struct ledger_status now;
    pass(l, *what == 'd', first, rows, size, n_users, at, 1000, &s);
    ledger_status(l, &now);
    printf("%-12s %8zu rows in groups of %zu: %8.0f rows/s, %5.2f us CPU/row, longest group %6.2f ms, %.0f rows/batch, %zu failed\n", what,
           rows, size, rate(&s), (double)s.cpu_us / (double)rows, (double)s.longest_us / 1000, (double)now.rows / (double)now.batches, s.failed);
}

static void report(const char *file, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    int64_t rows = 0, start = clock_mono_us();
    if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK || sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) {
        printf("%s: %s\n", sql, sqlite3_errmsg(db));
        return;
    }
    while (sqlite3_step(s) == SQLITE_ROW)
        rows++;
    printf("%8.1f ms %6lld rows  %s\n", (double)(clock_mono_us() - start) / 1000, (long long)rows, sql);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

static void reports(const char *file)
{
    report(file, "SELECT * FROM spend_by_team_day");
    report(file, "SELECT * FROM spend_by_cost_center_month");
    report(file, "SELECT * FROM spend_by_model");
    report(file, "SELECT * FROM spend_by_user_day WHERE day >= date('now', '-30 days')");
    report(file, "SELECT * FROM open_holds");
    report(file, "SELECT * FROM request WHERE started_us >= unixepoch('now', '-1 day') * 1000000 AND request_id = 'none'");
}

static void remove_ledger(const char *file)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    char name[320];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", file, ends[i]);
        unlink(name);
    }
}

static struct ledger *open_or_exit(const char *file)
{
    char why[300];
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (l)
        return l;
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static void add(struct ledger *l, int64_t *next, size_t rows, size_t group, int64_t at, int64_t step_us, struct speed *decide, struct speed *settle)
{
    pass(l, true, *next, rows, group, CURVE_USERS, at, step_us, decide);
    pass(l, false, *next, rows, group, CURVE_USERS, at, step_us, settle);
    *next += (int64_t)rows;
}

/* Both ledgers by turns. What the empty one takes between two sizes is thrown away. */
static void compare(struct ledger *large, int64_t *next, size_t existing, const char *empty_file)
{
    struct speed d = { 0 }, s = { 0 }, d0 = { 0 }, s0 = { 0 };
    struct ledger *empty = open_or_exit(empty_file);
    int64_t first = ledger_next_id(empty);
    for (int i = 0; i < CURVE_TURNS; i++) {
        int64_t now = clock_wall_us();
        add(empty, &first, CURVE_ROWS, CURVE_GROUP, now, 1000, &d0, &s0);
        add(large, next, CURVE_ROWS, CURVE_GROUP, now, 1000, &d, &s);
    }
    ledger_close(empty);
    remove_ledger(empty_file);
    printf("\n%zu rows: decisions %.0f/s, %.2f us CPU, %.2f of an empty ledger's rate; settlements %.0f/s, %.2f us CPU, %.2f; both %.2f;"
           " longest group %.1f ms (empty %.1f); %zu failed\n",
           existing, rate(&d), (double)d.cpu_us / (double)d.rows, rate(&d) / rate(&d0), rate(&s), (double)s.cpu_us / (double)s.rows, rate(&s) / rate(&s0),
           (double)(d0.us + s0.us) / (double)(d.us + s.us), (double)(d.longest_us > s.longest_us ? d.longest_us : s.longest_us) / 1000,
           (double)(d0.longest_us > s0.longest_us ? d0.longest_us : s0.longest_us) / 1000, d.failed + s.failed + d0.failed + s0.failed);
}

static int curve(size_t largest)
{
    char file[] = "./bench-ledger-XXXXXX", empty[] = "./bench-empty-XXXXXX";
    int fd = mkstemp(file), other = mkstemp(empty);
    if (fd < 0 || other < 0 || close(fd) != 0 || close(other) != 0)
        return 1;
    for (size_t size = 10000, have = 0; size <= largest; size *= 10) {
        struct ledger *l = open_or_exit(file);
        struct speed ignored = { 0 };
        struct stat st = { 0 };
        int64_t next = ledger_next_id(l), days = DAYS * INT64_C(86400000000), step = days / (int64_t)largest;
        if (size > have)
            add(l, &next, size - have, FILL_GROUP, clock_wall_us() - days + (int64_t)have * step, step, &ignored, &ignored);
        compare(l, &next, size, empty);
        have = (size_t)(next - 1);
        have -= have % FILL_GROUP;
        ledger_close(l);
        if (stat(file, &st) == 0)
            printf("%lld rows, %lld MiB, %.0f bytes a row\n", (long long)next - 1, (long long)st.st_size >> 20, (double)st.st_size / (double)(next - 1));
        reports(file);
        fflush(stdout);
    }
    remove_ledger(file);
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 0; i < USERS_MAX; i++)
        snprintf(users[i], sizeof users[i], "user-%05d@acme.example", i);
    for (int i = 0; i < 100; i++)
        snprintf(teams[i], sizeof teams[i], "team-%02d", i);
    if (argc == 3 && strcmp(argv[1], "curve") == 0)
        return curve((size_t)atol(argv[2]));
    size_t rows = argc > 1 ? (size_t)atol(argv[1]) : 200000, size = argc > 2 ? (size_t)atol(argv[2]) : 50;
    int n_users = argc > 3 ? atoi(argv[3]) : 500;
    char name[] = "./bench-ledger-XXXXXX", why[300];
    bool temporary = argc < 5;
    if (size == 0 || rows < size || n_users < 1 || n_users > USERS_MAX) {
        fprintf(stderr, "usage: bench_ledger_rate [rows] [group] [users, at most %d] [file]\n", USERS_MAX);
        return 2;
    }
    rows -= rows % size;
    if (temporary && close(mkstemp(name)) != 0)
        return 1;
    const char *file = temporary ? name : argv[4];
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (!l) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    int64_t first = ledger_next_id(l);
    printf("%lld rows before\n", (long long)first - 1);
    int64_t now = clock_wall_us();
    print_pass(l, "decisions", first, rows, size, n_users, now);
    print_pass(l, "settlements", first, rows, size, n_users, now);
    ledger_close(l);
    reports(file);
    if (temporary)
        remove_ledger(file);
    return 0;
}
