#include "ledger/observed.h"

#include "ledger/statements.h"

#include <stdlib.h>

enum { HISTOGRAM_MAX = 4096 };
enum { PUT_LEARNED, PUT_ROUTE, STATEMENTS };

static const char *const sql[STATEMENTS] = {
    [PUT_LEARNED] = "INSERT OR REPLACE INTO token_learned VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [PUT_ROUTE] = "INSERT OR REPLACE INTO route_state VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
};

struct observed_rows {
    sqlite3_stmt *s[STATEMENTS];
};

struct observed_rows *observed_rows_new(sqlite3 *db)
{
    struct observed_rows *r = calloc(1, sizeof *r);

    if (r != NULL && statements_prepare(db, sql, STATEMENTS, r->s))
        return r;
    observed_rows_free(r);
    return NULL;
}

void observed_rows_free(struct observed_rows *r)
{
    if (r == NULL)
        return;
    statements_end(r->s, STATEMENTS);
    free(r);
}

int observed_rows_learned(struct observed_rows *r, const struct ledger_learned *t)
{
    sqlite3_stmt *s = r->s[PUT_LEARNED];
    const int64_t figures[] = { t->shape, t->size, t->observations, t->agreed, t->p01_ppm, t->median_ppm, t->p99_ppm, t->max_ppm };

    if (!ledger_within(figures, 8, 0, LEDGER_NANO_MAX) || t->histogram.n > HISTOGRAM_MAX || t->updated_us < 0 ||
        t->updated_us > LEDGER_TIME_MAX)
        return LEDGER_INVALID;
    statement_bind_text(s, 1, t->provider);
    statement_bind_text(s, 2, t->model);
    for (int k = 0; k < 8; k++)
        sqlite3_bind_int64(s, 3 + k, figures[k]);
    statement_bind_whole(s, 11, t->histogram);
    sqlite3_bind_int64(s, 12, t->updated_us);
    return rows_run(s);
}

int observed_rows_route(struct observed_rows *r, const struct ledger_route *t)
{
    sqlite3_stmt *s = r->s[PUT_ROUTE];
    const struct slice texts[] = { t->group, t->model, t->state, t->reason };
    const int64_t figures[] = { t->drained, t->open_until_us, t->openings, t->ttft_us, t->tpot_ns, t->plain_us, t->output_tokens,
                                t->updated_us };

    if (!ledger_within(figures, 8, -1, LEDGER_TIME_MAX))
        return LEDGER_INVALID;
    for (int k = 0; k < 4; k++)
        statement_bind_text(s, 1 + k, texts[k]);
    for (int k = 0; k < 8; k++)
        sqlite3_bind_int64(s, 5 + k, figures[k]);
    return rows_run(s);
}
