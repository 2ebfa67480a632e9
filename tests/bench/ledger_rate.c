/* How fast the ledger takes rows: decisions and settlements in groups as they come from a loop, with synchronous=FULL and roll-ups.
 *
 *   bench_ledger_rate [rows] [group] [users] [file]   (default 200000 50 500, a temporary file in the current directory)
 *
 * Prints rows per second and CPU per row for decisions alone and for settlements alone, the longest commit, then how long reports
 * take. A row that exists stays: run it again on the same file to see the curve. */
#include "base/clock.h"
#include "ledger/ledger.h"
#include "ledger/read.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { USERS_MAX = 10000 };

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

static void fill_decision(struct ledger_op *op, int64_t id, int64_t at, int n_users)
{
    int user = rand() % n_users;
    op->kind = LEDGER_DECISION;
    op->decision = (struct ledger_decision){
        .id = id, .request_id = SLICE_LIT("7F000001:D2A4_7F000001:1F90_6541A2B3_0012:1A2B"), .started_us = at,
        .who = { SLICE_LIT("acme"), slice_cstr(teams[user % 50]), slice_cstr(users[user]), SLICE_LIT("assistant"), slice_cstr(teams[50 + user % 20]),
                 slice_cstr(users[user]), SLICE_LIT("https://login.acme.example/oidc") },
        .alias = SLICE_LIT("chat-default"), .stream = true, .primary = { SLICE_LIT("openai-eu"), SLICE_LIT("openai"), SLICE_LIT("gpt-4o") },
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
        .served = { SLICE_LIT("openai-eu"), SLICE_LIT("openai"), SLICE_LIT("gpt-4o") }, .usage = { .input = 512, .output = 300 },
        .cost_nano = 4280000, .provider_cost_nano = -1, .price_version = INT64_C(0x123456789abc), .ttft_us = 400000, .tpot_ns = 12000000,
        .total_us = 4000000, .attempts = 1, .response_bytes = 60000, .commit_us = 300
    };
}

/* One group after the other: the next starts when the last is committed. */
static void pass(struct ledger *l, const char *what, int64_t first, size_t rows, size_t size, int n_users)
{
    struct group g = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };
    struct ledger_op *ops = calloc(size, sizeof *ops);
    int64_t start = clock_mono_us(), cpu = cpu_us(), now = clock_wall_us(), longest = 0;
    for (size_t done = 0; done < rows; done += size) {
        int64_t began = clock_mono_us();
        g.missing = size;
        for (size_t i = 0; i < size; i++) {
            int64_t id = first + (int64_t)(done + i);
            if (*what == 'd')
                fill_decision(&ops[i], id, now + id * 1000, n_users);
            else
                fill_settlement(&ops[i], id, now);
            ops[i].done = on_done;
            ops[i].user = &g;
            ledger_submit(l, &ops[i]);
        }
        pthread_mutex_lock(&g.lock);
        while (g.missing)
            pthread_cond_wait(&g.empty, &g.lock);
        pthread_mutex_unlock(&g.lock);
        int64_t took = clock_mono_us() - began;
        longest = took > longest ? took : longest;
    }
    int64_t us = clock_mono_us() - start;
    cpu = cpu_us() - cpu;
    struct ledger_status s;
    ledger_status(l, &s);
    printf("%-12s %8zu rows in groups of %zu: %8.0f rows/s, %5.2f us CPU/row, longest group %6.2f ms, %.0f rows/batch, %zu failed\n", what,
           rows, size, (double)rows * 1e6 / (double)us, (double)cpu / (double)rows, (double)longest / 1000, (double)s.rows / (double)s.batches, g.failed);
    free(ops);
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

int main(int argc, char **argv)
{
    size_t rows = argc > 1 ? (size_t)atol(argv[1]) : 200000, size = argc > 2 ? (size_t)atol(argv[2]) : 50;
    int n_users = argc > 3 ? atoi(argv[3]) : 500;
    char name[] = "./bench-ledger-XXXXXX", why[300], wal[320];
    bool temporary = argc < 5;
    if (size == 0 || rows < size || n_users < 1 || n_users > USERS_MAX) {
        fprintf(stderr, "usage: bench_ledger_rate [rows] [group] [users, at most %d] [file]\n", USERS_MAX);
        return 2;
    }
    rows -= rows % size;
    if (temporary && close(mkstemp(name)) != 0)
        return 1;
    const char *file = temporary ? name : argv[4];
    for (int i = 0; i < USERS_MAX; i++)
        snprintf(users[i], sizeof users[i], "user-%05d@acme.example", i);
    for (int i = 0; i < 100; i++)
        snprintf(teams[i], sizeof teams[i], "team-%02d", i);
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (!l) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    int64_t first = ledger_next_id(l);
    printf("%lld rows before\n", (long long)first - 1);
    pass(l, "decisions", first, rows, size, n_users);
    pass(l, "settlements", first, rows, size, n_users);
    ledger_close(l);
    report(file, "SELECT * FROM spend_by_team_day");
    report(file, "SELECT * FROM spend_by_cost_center_month");
    report(file, "SELECT * FROM spend_by_model");
    report(file, "SELECT * FROM spend_by_user_day");
    report(file, "SELECT * FROM open_holds");
    report(file, "SELECT * FROM rollup_mismatch");
    if (temporary) {
        unlink(file);
        snprintf(wal, sizeof wal, "%s-wal", file);
        unlink(wal);
        snprintf(wal, sizeof wal, "%s-shm", file);
        unlink(wal);
    }
    return 0;
}
