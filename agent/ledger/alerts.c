#include "ledger/alerts.h"

#include "ledger/statements.h"

#include <stdlib.h>

enum { TEXT_MAX = 4096 };
enum { NEW, END, ERASE, STATEMENTS };

static const char *const sql[STATEMENTS] = {
    [NEW] = "INSERT INTO alert (event, limit_name, unit, subject, percent, at_us, body, state) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"
            " WHERE NOT EXISTS (SELECT 1 FROM alert WHERE limit_name = ?2 AND unit = ?3 AND subject = ?4 AND percent = ?5 AND at_us >= ?9)",
    [END] = "UPDATE alert SET state = ?2, attempts = ?3, ended_us = ?4 WHERE event = ?1 AND state = 'pending'",
    [ERASE] = "DELETE FROM alert AS a WHERE " ALERTS_OLD("alert"),
};

struct alert_rows {
    sqlite3 *db;
    sqlite3_stmt *s[STATEMENTS];
};

struct alert_rows *alert_rows_new(sqlite3 *db)
{
    struct alert_rows *r = calloc(1, sizeof *r);

    if (r != NULL && statements_prepare(db, sql, STATEMENTS, r->s)) {
        r->db = db;
        return r;
    }
    alert_rows_free(r);
    return NULL;
}

void alert_rows_free(struct alert_rows *r)
{
    if (r == NULL)
        return;
    statements_end(r->s, STATEMENTS);
    free(r);
}

int alert_rows_write(struct alert_rows *r, const struct ledger_alert *a)
{
    const struct slice texts[] = { a->event, a->limit, a->unit, a->subject, a->body };
    sqlite3_stmt *s = r->s[a->change == ALERT_NEW ? NEW : END];

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].n > TEXT_MAX)
            return LEDGER_INVALID;
    if (a->event.n == 0)
        return LEDGER_INVALID;
    statement_bind_whole(s, 1, a->event);
    if (a->change == ALERT_NEW) {
        statement_bind_whole(s, 2, a->limit);
        statement_bind_whole(s, 3, a->unit);
        statement_bind_whole(s, 4, a->subject);
        sqlite3_bind_int(s, 5, a->percent);
        sqlite3_bind_int64(s, 6, a->at_us);
        statement_bind_whole(s, 7, a->body);
        statement_bind_whole(s, 8, a->unheard ? SLICE_LIT("unheard") : SLICE_LIT("pending"));
        sqlite3_bind_int64(s, 9, a->once_since_us);
    } else {
        statement_bind_whole(s, 2, a->change == ALERT_SENT ? SLICE_LIT("sent") : SLICE_LIT("dropped"));
        sqlite3_bind_int(s, 3, a->attempts);
        sqlite3_bind_int64(s, 4, a->ended_us);
    }
    int result = rows_run(s);
    return result == LEDGER_OK && sqlite3_changes(r->db) == 0 ? LEDGER_STALE : result;
}

int alert_rows_erase(struct alert_rows *r, const struct ledger_op *op)
{
    const int64_t values[] = { op->erase.first, op->erase.last, op->erase.before_us, op->erase.last_alert };

    for (int i = 0; i < 4; i++)
        sqlite3_bind_int64(r->s[ERASE], i + 1, values[i]);
    return rows_run(r->s[ERASE]);
}
