/* A ledger in a directory of its own, and operations that wait for their answer. */
#ifndef TOLLGATE_TESTS_LEDGER_FIXTURE_H
#define TOLLGATE_TESTS_LEDGER_FIXTURE_H

#include "ledger/ledger.h"
#include "ledger/read.h"

#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY_US INT64_C(86400000000)
#define T0 INT64_C(1790000000000000) /* 2026-09-21 14:13:20 */
enum { BUSY_MS = 120000 }; /* a lock that is held a moment by another thread is no failure of a test */

struct place {
    char dir[64], file[96];
};

static inline void place_make(struct place *p)
{
    snprintf(p->dir, sizeof p->dir, "/tmp/tollgate-ledger-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->file, sizeof p->file, "%s/ledger.db", p->dir);
}

static inline void place_remove(struct place *p)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
    assert_int_equal(system(command), 0);
}

static inline struct ledger *open_ledger(const char *file)
{
    char why[300];
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (!l)
        fail_msg("%s", why);
    return l;
}

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    int missing;
    enum ledger_result last;
};

static inline void on_answer(struct ledger_op *op, enum ledger_result result)
{
    struct answer *a = op->user;
    pthread_mutex_lock(&a->lock);
    a->last = result;
    a->missing--;
    pthread_cond_signal(&a->come);
    pthread_mutex_unlock(&a->lock);
}

static inline enum ledger_result submit(struct ledger *l, struct ledger_op *op)
{
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 1, LEDGER_FAILED };
    op->done = on_answer;
    op->user = &a;
    ledger_submit(l, op);
    pthread_mutex_lock(&a.lock);
    while (a.missing)
        pthread_cond_wait(&a.come, &a.lock);
    pthread_mutex_unlock(&a.lock);
    return a.last;
}

static inline struct ledger_op decision(int64_t id, int64_t started_us, enum ledger_state state)
{
    struct ledger_op op = { .kind = LEDGER_DECISION };
    op.decision = (struct ledger_decision){
        .id = id, .request_id = SLICE_LIT("0A:1B_2C"), .started_us = started_us,
        .who = { SLICE_LIT("acme"), SLICE_LIT("search"), SLICE_LIT("ann"), SLICE_LIT("bot"), SLICE_LIT("cc-7"), SLICE_LIT("sub-1"),
                 SLICE_LIT("https://issuer") },
        .endpoint = ENDPOINT_CHAT, .alias = SLICE_LIT("chat-default"), .stream = true, .state = state,
        .primary = { SLICE_LIT("openai"), SLICE_LIT("openai"), SLICE_LIT("gpt-4o"), SLICE_LIT("openai-1") },
        .fallback = { SLICE_LIT("azure"), SLICE_LIT("azure"), SLICE_LIT("gpt-4o"), SLICE_NONE },
        .input_tokens = 100, .input_bound = 110, .exactness = DOCUMENTED_TOKENS, .output_ceiling = 500, .choices = 1,
        .hold_nano = 5000000, .budget_left_nano = 7000000, .price_version = 0x123456789abc, .body_bytes = 2048,
        .identity_us = 3, .tokens_us = 40, .budget_us = 5
    };
    if (state == LEDGER_DENIED) {
        op.decision.deny_reason = SLICE_LIT("budget");
        op.decision.http_status = 429;
        op.decision.hold_nano = 0;
    }
    return op;
}

static inline struct ledger_op settlement(int64_t id, int64_t cost)
{
    struct ledger_op op = { .kind = LEDGER_SETTLEMENT };
    op.settlement = (struct ledger_settlement){
        .id = id, .settled_us = T0 + 2000000, .known_by = KNOWN_REPORTED, .http_status = 200, .outcome = SLICE_LIT("ok"),
        .served = { SLICE_LIT("openai"), SLICE_LIT("openai"), SLICE_LIT("gpt-4o"), SLICE_LIT("openai-1") },
        .usage = { .input = 90, .input_cached = 10, .output = 50, .output_reasoning = 7 }, .cost_nano = cost, .provider_cost_nano = -1,
        .price_version = 0x123456789abc, .ttft_us = 300000, .tpot_ns = 9000000, .total_us = 900000, .attempts = 1, .response_bytes = 4000,
        .commit_us = 250
    };
    return op;
}

static inline struct ledger_op correction(int64_t id, int64_t booked_us, int64_t cost)
{
    struct ledger_op op = { .kind = LEDGER_CORRECTION };
    op.correction = (struct ledger_correction){ .id = id, .booked_us = booked_us, .reason = SLICE_LIT("late_record"), .known_by = KNOWN_REPORTED,
                                                .cost_nano = cost };
    return op;
}

static inline int64_t query(const char *file, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open_v2(file, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, BUSY_MS);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t v = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return v;
}

static inline void query_text(const char *file, const char *sql, const char *expected)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open_v2(file, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, BUSY_MS);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    assert_string_equal((const char *)sqlite3_column_text(s, 0), expected);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

#endif
