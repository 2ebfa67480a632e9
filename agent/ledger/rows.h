/* Operations as SQL: prepared statements, the names that rows refer to, and the roll-ups.
 *
 * Used by the writer thread alone, inside a transaction it begins and ends. Roll-ups (rollup.h) are written by rows_flush
 * before the commit. Warm, writing an operation allocates nothing. */
#ifndef TOLLGATE_LEDGER_ROWS_H
#define TOLLGATE_LEDGER_ROWS_H

#include "ledger/ledger.h"

#include <sqlite3.h>

struct rows;

enum { ROWS_TRANSACTION_FAILED = -1 };

/* NULL: sqlite3_errmsg(db) says why. */
struct rows *rows_new(sqlite3 *db, int64_t rollup_lag, int64_t rollup_chunk) __attribute__((warn_unused_result));
/* NULL is allowed. */
void rows_free(struct rows *r);
/* An enum ledger_result for this operation, or ROWS_TRANSACTION_FAILED: roll back, all of it. */
int rows_write(struct rows *r, const struct ledger_op *op) __attribute__((warn_unused_result));
/* 0 or ROWS_TRANSACTION_FAILED. */
int rows_flush(struct rows *r) __attribute__((warn_unused_result));
/* How many chunks of rows wait for rows_roll_up, which takes one into the roll-ups: 0 or ROWS_TRANSACTION_FAILED. */
int64_t rows_rollup_due(const struct rows *r);
int rows_roll_up(struct rows *r) __attribute__((warn_unused_result));
/* After a rollback: what was found or summed in the transaction is forgotten. */
void rows_forget(struct rows *r);

/* Steps a statement that returns nothing and resets it: an enum ledger_result, or ROWS_TRANSACTION_FAILED. */
int rows_run(sqlite3_stmt *s) __attribute__((warn_unused_result));

#endif
