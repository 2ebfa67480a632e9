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
/* As rows_write, of a LEDGER_ERASE_ALERTS: erases what ALERTS_OLD selects. */
int alert_rows_erase(struct alert_rows *r, const struct ledger_op *op) __attribute__((warn_unused_result));

/* ?1..?2 ids, ?3 raised before, ?4 the last alert there was when they were copied. Never the newest of its kind: whether a threshold was
 * reported already is asked of it. `table` is the alerts' table. */
#define ALERTS_OLD(table)                                                                                              \
    "id BETWEEN ?1 AND ?2 AND at_us < ?3 AND state <> 'pending' AND EXISTS (SELECT 1 FROM " table " AS later WHERE later.limit_name = a.limit_name" \
    " AND later.unit = a.unit AND later.subject = a.subject AND later.percent = a.percent AND later.at_us >= a.at_us AND later.id > a.id"           \
    " AND later.id <= ?4)"

#endif
