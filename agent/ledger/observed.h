/* What was observed of providers, in the ledger: learned token counts, the state of circuit breakers. One row each, replaced. */
#ifndef TOLLGATE_LEDGER_OBSERVED_H
#define TOLLGATE_LEDGER_OBSERVED_H

#include "ledger/rows.h"

struct observed_rows;

/* For the writer thread, as rows_new. NULL: sqlite3_errmsg(db) says why. */
struct observed_rows *observed_rows_new(sqlite3 *db) __attribute__((warn_unused_result));
/* NULL is allowed. */
void observed_rows_free(struct observed_rows *r);
/* As rows_write. */
int observed_rows_learned(struct observed_rows *r, const struct ledger_learned *t) __attribute__((warn_unused_result));
int observed_rows_route(struct observed_rows *r, const struct ledger_route *t) __attribute__((warn_unused_result));

#endif
