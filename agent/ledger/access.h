/* Access changes in the ledger: revocations, gateway keys, and the event that says who made the change, in one transaction. */
#ifndef TOLLGATE_LEDGER_ACCESS_H
#define TOLLGATE_LEDGER_ACCESS_H

#include "ledger/rows.h"

struct access_rows;

/* For the writer thread, as rows_new. NULL: sqlite3_errmsg(db) says why. */
struct access_rows *access_rows_new(sqlite3 *db) __attribute__((warn_unused_result));
/* NULL is allowed. */
void access_rows_free(struct access_rows *r);
/* As rows_write. LEDGER_STALE: there was nothing to take back, or no such key; nothing was written then. LEDGER_INVALID: the key's id is
 * taken. */
int access_rows_write(struct access_rows *r, const struct ledger_access *a) __attribute__((warn_unused_result));

#endif
