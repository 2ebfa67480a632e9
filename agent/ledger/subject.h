/* Whom a settled request is charged to. */
#ifndef TOLLGATE_LEDGER_SUBJECT_H
#define TOLLGATE_LEDGER_SUBJECT_H

#include "ledger/rows.h"

struct subject_rows;

/* For the writer thread, as rows_new. NULL: sqlite3_errmsg(db) says why. */
struct subject_rows *subject_rows_new(sqlite3 *db) __attribute__((warn_unused_result));
/* NULL is allowed. */
void subject_rows_free(struct subject_rows *r);
/* Fills `out` for a request, what it held is freed. An enum ledger_result (LEDGER_STALE: no such request), or
 * ROWS_TRANSACTION_FAILED, also when memory is out. */
int subject_rows_find(struct subject_rows *r, int64_t request, struct ledger_subject *out) __attribute__((warn_unused_result));

#endif
