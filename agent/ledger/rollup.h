/* Roll-up sums of one transaction, gathered in memory so that a batch writes each slot once. Writer thread only. */
#ifndef TOLLGATE_LEDGER_ROLLUP_H
#define TOLLGATE_LEDGER_ROLLUP_H

#include "request.h"

#include <sqlite3.h>

struct rollup;

enum rollup_sum {
    SUM_SETTLED, SUM_DENIED, SUM_CORRECTIONS, SUM_TOKENS /* eight, in the order of struct token_usage */, SUM_COST = SUM_TOKENS + 8, SUM_SAVED,
    SUMS
};

struct rollup *rollup_new(sqlite3 *db) __attribute__((warn_unused_result));
void rollup_free(struct rollup *u);
/* Adds to the quarter of an hour of `time_us` for `who`, and to its day for `account`. SQLITE_OK or SQLite's error (full tables are
 * written first). */
int rollup_add(struct rollup *u, int64_t time_us, int64_t who, int64_t account, int64_t target, const int64_t sums[SUMS])
    __attribute__((warn_unused_result));
int rollup_flush(struct rollup *u) __attribute__((warn_unused_result));
void rollup_forget(struct rollup *u);

#endif
