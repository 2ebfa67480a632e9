/* Price tables in the ledger: each version once, and from when on it was in force. */
#ifndef TOLLGATE_LEDGER_PRICE_ROWS_H
#define TOLLGATE_LEDGER_PRICE_ROWS_H

#include "ledger/rows.h"

struct price_rows;

/* For the writer thread, as rows_new. NULL: sqlite3_errmsg(db) says why. */
struct price_rows *price_rows_new(sqlite3 *db) __attribute__((warn_unused_result));
/* NULL is allowed. */
void price_rows_free(struct price_rows *r);
/* As rows_write. Several statements: inside a savepoint of the caller's. */
int price_rows_write(struct price_rows *r, const struct ledger_prices *p) __attribute__((warn_unused_result));

#endif
