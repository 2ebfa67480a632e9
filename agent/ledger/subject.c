#include "ledger/subject.h"

#include "ledger/statements.h"

#include <stdlib.h>
#include <string.h>

enum { TEXTS = 11 };

static const char *const sql[1] = {
    "SELECT w.organization, w.team, w.user_name, w.application, w.cost_center, w.subject, w.issuer, coalesce(r.charged_as, r.alias), t.grp,"
    " t.provider, t.model FROM request_row AS r JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan)"
    " WHERE r.id = ?1"
};

struct subject_rows {
    sqlite3_stmt *find;
};

struct subject_rows *subject_rows_new(sqlite3 *db)
{
    struct subject_rows *r = calloc(1, sizeof *r);

    if (r != NULL && statements_prepare(db, sql, 1, &r->find))
        return r;
    subject_rows_free(r);
    return NULL;
}

void subject_rows_free(struct subject_rows *r)
{
    if (r == NULL)
        return;
    statements_end(&r->find, 1);
    free(r);
}

void ledger_subject_clear(struct ledger_subject *s)
{
    free(s->text);
    *s = (struct ledger_subject){ .text = NULL };
}

static bool copy(sqlite3_stmt *from, struct ledger_subject *out)
{
    struct slice *const texts[TEXTS] = { &out->who.organization, &out->who.team, &out->who.user, &out->who.application, &out->who.cost_center,
                                         &out->who.subject, &out->who.issuer, &out->alias, &out->target.group, &out->target.provider,
                                         &out->target.model };
    size_t size = 1;

    for (int i = 0; i < TEXTS; i++)
        size += (size_t)sqlite3_column_bytes(from, i);
    char *p = out->text = malloc(size);
    for (int i = 0; p != NULL && i < TEXTS; i++) {
        size_t n = (size_t)sqlite3_column_bytes(from, i);
        if (n > 0)
            memcpy(p, sqlite3_column_text(from, i), n);
        *texts[i] = slice_make(p, n);
        p += n;
    }
    return out->text != NULL;
}

int subject_rows_find(struct subject_rows *r, int64_t request, struct ledger_subject *out)
{
    ledger_subject_clear(out);
    sqlite3_bind_int64(r->find, 1, request);
    int rc = sqlite3_step(r->find);
    int result = rc == SQLITE_ROW ? (copy(r->find, out) ? LEDGER_OK : ROWS_TRANSACTION_FAILED)
                 : rc == SQLITE_DONE ? LEDGER_STALE : ROWS_TRANSACTION_FAILED;
    sqlite3_reset(r->find);
    return result;
}
