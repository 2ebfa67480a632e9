/* The prepared statements of one module: made together, kept as long as the module, ended together. */
#ifndef TOLLGATE_LEDGER_STATEMENTS_H
#define TOLLGATE_LEDGER_STATEMENTS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

/* Prepares sql[i] as out[i]. `out` is all NULL before. False: sqlite3_errmsg tells; what was prepared still wants statements_end. */
bool statements_prepare(sqlite3 *db, const char *const *sql, size_t count, sqlite3_stmt **out) __attribute__((warn_unused_result));
/* NULLs among them are allowed. */
void statements_end(sqlite3_stmt **s, size_t count);

#endif
