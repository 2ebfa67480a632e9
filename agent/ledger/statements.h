/* The prepared statements of one module: made together, kept as long as the module, ended together. And what modules bind alike. */
#ifndef TOLLGATE_LEDGER_STATEMENTS_H
#define TOLLGATE_LEDGER_STATEMENTS_H

#include "base/slice.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds of what a row may hold; beyond them an operation is LEDGER_INVALID. */
#define LEDGER_NANO_MAX INT64_C(1000000000000000)
#define LEDGER_TOKENS_MAX INT64_C(1000000000000)
#define LEDGER_TIME_MAX INT64_C(4102444800000000) /* the year 2100 */

/* Prepares sql[i] as out[i]. `out` is all NULL before. False: sqlite3_errmsg tells; what was prepared still wants statements_end. */
bool statements_prepare(sqlite3 *db, const char *const *sql, size_t count, sqlite3_stmt **out) __attribute__((warn_unused_result));
/* NULLs among them are allowed. */
void statements_end(sqlite3_stmt **s, size_t count);

/* As it is. Must stay until the statement has run, too. */
void statement_bind_whole(sqlite3_stmt *s, int at, struct slice v);
/* Cut at 512 bytes, not inside a UTF-8 sequence. */
void statement_bind_text(sqlite3_stmt *s, int at, struct slice v);

static inline bool ledger_within(const int64_t *v, int n, int64_t min, int64_t max)
{
    for (int i = 0; i < n; i++)
        if (v[i] < min || v[i] > max)
            return false;
    return true;
}

#endif
