/* Alerts in the ledger: each threshold that was passed, once, and whether its report was heard. */
#ifndef TOLLGATE_LEDGER_ALERTS_H
#define TOLLGATE_LEDGER_ALERTS_H

#include "ledger/rows.h"

struct alert_rows;

/* For the writer thread, as rows_new. NULL: sqlite3_errmsg(db) says why. */
struct alert_rows *alert_rows_new(sqlite3 *db) __attribute__((warn_unused_result));
/* NULL is allowed. */
void alert_rows_free(struct alert_rows *r);
/* As rows_write. LEDGER_STALE: reported already, or no such row. */
int alert_rows_write(struct alert_rows *r, const struct ledger_alert *a) __attribute__((warn_unused_result));

#endif
