/* Names as ids: who, account and target rows, found or made, with a cache in front. Writer thread only. */
#ifndef TOLLGATE_LEDGER_NAMES_H
#define TOLLGATE_LEDGER_NAMES_H

#include "ledger/ledger.h"

#include <sqlite3.h>

struct names;

struct names *names_new(sqlite3 *db) __attribute__((warn_unused_result));
void names_free(struct names *n);
void names_forget(struct names *n);
/* SQLITE_OK, SQLITE_TOOBIG for a name that is too long, or SQLite's error. */
int names_who(struct names *n, const struct ledger_who *who, int64_t *id, int64_t *account) __attribute__((warn_unused_result));
/* *id is 0 for the empty target. */
int names_target(struct names *n, const struct ledger_target *target, int64_t *id) __attribute__((warn_unused_result));
/* The account of a who row. */
int names_account_of(struct names *n, int64_t who, int64_t *account) __attribute__((warn_unused_result));

#endif
