#include "admin/tollgatectl_cells.h"

#include <inttypes.h>
#include <string.h>

enum { COLUMNS_MAX = DIMENSIONS_MAX + 8, SQL_SIZE = 4096 };

/* The report's dimensions, then `figures`. */
static struct table *table_for(const struct report *r, struct table_column *columns, const struct table_column *figures, size_t count)
{
    for (size_t i = 0; i < r->by_count; i++)
        columns[i] = (struct table_column){ r->by[i]->name, TABLE_TEXT, false };
    memcpy(columns + r->by_count, figures, count * sizeof *figures);
    struct table *t = table_new(columns, r->by_count + count);
    if (t == NULL)
        fprintf(stderr, "tollgatectl: out of memory\n");
    return t;
}

static int table_end(const struct report *r, const char *kind, struct table *t, bool filled)
{
    char head[160];

    report_head(r, kind, head, sizeof head);
    int rc = filled && table_write(t, r->format, head, stdout) == 0 ? CTL_DONE : CTL_FAILED;
    table_free(t);
    return rc;
}

static void copy_names(const struct report *r, sqlite3_stmt *s, struct table *t)
{
    for (int i = 0; i < (int)r->by_count; i++)
        table_text(t, slice_make((const char *)sqlite3_column_text(s, i), (size_t)sqlite3_column_bytes(s, i)));
}

/* What was spent in slots from ?1 until before ?3, as u (slot, who, target, cost). Whole days come from the roll-ups by day; the day of ?3
 * (which begins at ?2) in 15 minutes. */
static const char *spent_until(const struct report *r)
{
    return r->by_user ? "(SELECT slot, who, target, cost_nano AS cost FROM user_days WHERE slot >= ?1 AND slot < ?2 UNION ALL"
                        " SELECT slot, who, target, cost_nano FROM quarters WHERE slot >= ?2 AND slot < ?3)"
                      : "(SELECT slot, who, target, cost_nano AS cost FROM days WHERE slot >= ?1 AND slot < ?2 UNION ALL"
                        " SELECT q.slot, x.account, q.target, q.cost_nano FROM quarters AS q JOIN who AS x ON x.id = q.who"
                        " WHERE q.slot >= ?2 AND q.slot < ?3)";
}

/* ---- burn -------------------------------------------------------------------------------------------------------- */

struct window {
    const char *name;
    int64_t start, end, before; /* before: where the window before it began */
};

static void windows_of(int64_t at, struct window out[3])
{
    int64_t day = at - at % PERIOD_DAY_S, week = day - (day / PERIOD_DAY_S + 3) % 7 * PERIOD_DAY_S; /* 1970-01-01 was a Thursday */
    struct period month = period_month(at);

    out[0] = (struct window){ "day", day, day + PERIOD_DAY_S, day - PERIOD_DAY_S };
    out[1] = (struct window){ "week", week, week + 7 * PERIOD_DAY_S, week - 7 * PERIOD_DAY_S };
    out[2] = (struct window){ "month", month.start_s, month.end_s, period_month(month.start_s - 1).start_s };
}

/* used * length / elapsed, rounded half up. */
static void add_scaled(struct table *t, int64_t used, int64_t length, int64_t elapsed)
{
    __int128 v = elapsed > 0 ? ((__int128)used * length * 2 + elapsed) / ((__int128)elapsed * 2) : 0;

    if (elapsed <= 0 || v > INT64_MAX || v < INT64_MIN)
        table_null(t);
    else
        table_int(t, (int64_t)v);
}

static void add_burn(const struct report *r, const struct window *w, sqlite3_stmt *s, struct table *t)
{
    int at = (int)r->by_count;
    int64_t used = sqlite3_column_int64(s, at + 1), elapsed = r->at_s - w->start;

    copy_names(r, s, t);
    table_text(t, slice_cstr(w->name));
    table_int(t, used);
    add_scaled(t, used, PERIOD_DAY_S, elapsed);
    add_scaled(t, used, w->end - w->start, elapsed);
    table_int(t, sqlite3_column_int64(s, at + 2));
}

int report_burn(const struct report *r)
{
    static const struct table_column figures[] = { { "window", TABLE_TEXT, false }, { "used_usd", TABLE_USD, false },
                                                   { "per_day_usd", TABLE_USD, false }, { "forecast_usd", TABLE_USD, false },
                                                   { "window_before_usd", TABLE_USD, false } };
    struct table_column columns[COLUMNS_MAX];
    struct table *t = table_for(r, columns, figures, sizeof figures / sizeof *figures);
    char keys[512], names[128], sql[SQL_SIZE];
    struct window w[3];
    sqlite3_stmt *s = NULL;

    if (t == NULL || !report_columns(r, false, keys, sizeof keys) || !report_columns(r, true, names, sizeof names))
        return CTL_FAILED;
    windows_of(r->at_s, w);
    int64_t first = w[1].before < w[2].before ? w[1].before : w[2].before, day = w[0].start;
    snprintf(sql, sizeof sql,
             "WITH v (i, start, before) AS (VALUES (0, ?4, ?5), (1, ?6, ?7), (2, ?8, ?9)),"
             " s AS (SELECT %s, u.slot AS slot, sum(u.cost) AS cost FROM %s AS u JOIN %s AS w ON w.id = u.who"
             " LEFT JOIN target AS t ON t.id = u.target GROUP BY %s, u.slot)"
             " SELECT %s, v.i, sum(iif(s.slot >= v.start, s.cost, 0)), sum(iif(s.slot < v.start, s.cost, 0))"
             " FROM v JOIN s ON s.slot >= v.before GROUP BY %s, v.i ORDER BY %s, v.i",
             keys, spent_until(r), cells_who(r), names, names, names, names);
    const int64_t values[] = { first, day, r->at_s, w[0].start, w[0].before, w[1].start, w[1].before, w[2].start, w[2].before };
    int rc = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    for (int i = 0; rc == SQLITE_OK && i < (int)(sizeof values / sizeof *values); i++)
        rc = sqlite3_bind_int64(s, i + 1, values[i]);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        add_burn(r, &w[sqlite3_column_int(s, (int)r->by_count)], s, t);
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE)
        ctl_sql_failed(&r->place, r->db);
    sqlite3_finalize(s);
    return table_end(r, "burn", t, rc == SQLITE_DONE);
}

/* ---- movers ------------------------------------------------------------------------------------------------------ */

/* Slots from ?1 until before ?3, as (who, target, now, before), parted at ?2. The three days that these instants are in (beginning at
 * ?4, ?5 and ?6) come in 15 minutes, what lies between in whole days. */
#define MOVED(who) "SELECT " who " AS who, target, iif(slot >= ?2, cost_nano, 0) AS now, iif(slot < ?2, cost_nano, 0) AS before FROM "
#define PARTS(who, join, days)                                                                                                     \
    "(" MOVED("who") days " WHERE slot >= ?4 + 86400 AND slot < ?6 AND slot <> ?5 UNION ALL "                                       \
    MOVED(who) "quarters" join " WHERE slot >= ?1 AND slot < ?4 + 86400 UNION ALL "                                                 \
    MOVED(who) "quarters" join " WHERE slot >= ?5 AND slot < ?5 + 86400 UNION ALL " MOVED(who) "quarters" join " WHERE slot >= ?6 AND slot < ?3)"

int report_movers(const struct report *r)
{
    static const struct table_column figures[] = { { "last_7_days_usd", TABLE_USD, true }, { "7_days_before_usd", TABLE_USD, true },
                                                   { "change_usd", TABLE_USD, true }, { "change_percent", TABLE_COUNT, false } };
    struct table_column columns[COLUMNS_MAX];
    struct table *t = table_for(r, columns, figures, sizeof figures / sizeof *figures);
    char keys[512], names[128], sql[SQL_SIZE];
    sqlite3_stmt *s = NULL;

    if (t == NULL || !report_columns(r, false, keys, sizeof keys) || !report_columns(r, true, names, sizeof names))
        return CTL_FAILED;
    snprintf(sql, sizeof sql,
             "SELECT %s, sum(u.now) AS now, sum(u.before) AS before FROM (SELECT who, target, sum(now) AS now, sum(before) AS before FROM %s"
             " GROUP BY who, target) AS u JOIN %s AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target GROUP BY %s"
             " HAVING sum(u.now) OR sum(u.before) ORDER BY abs(sum(u.now) - sum(u.before)) DESC, %s", keys,
             r->by_user ? PARTS("who", "", "user_days") : PARTS("account", " JOIN who AS x ON x.id = who", "days"), cells_who(r), names, names);
    int64_t values[6] = { r->at_s - 14 * PERIOD_DAY_S, r->at_s - 7 * PERIOD_DAY_S, r->at_s };
    for (int i = 0; i < 3; i++)
        values[3 + i] = values[i] - values[i] % PERIOD_DAY_S;
    int rc = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    for (int i = 0; rc == SQLITE_OK && i < 6; i++)
        rc = sqlite3_bind_int64(s, i + 1, values[i]);
    while (rc == SQLITE_OK && (r->top == 0 || (int64_t)table_rows(t) < r->top) && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        int64_t now = sqlite3_column_int64(s, (int)r->by_count), before = sqlite3_column_int64(s, (int)r->by_count + 1);
        copy_names(r, s, t);
        table_int(t, now);
        table_int(t, before);
        table_int(t, now - before);
        if (before > 0)
            table_int(t, (int64_t)((__int128)(now - before) * 100 / before));
        else
            table_null(t); /* from nothing: no percentage says it */
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE && rc != SQLITE_OK)
        ctl_sql_failed(&r->place, r->db);
    sqlite3_finalize(s);
    return table_end(r, "movers", t, rc == SQLITE_DONE || rc == SQLITE_OK);
}

/* ---- savings ----------------------------------------------------------------------------------------------------- */

int report_savings(const struct report *r)
{
    static const struct table_column figures[] = {
        { "cache_answers", TABLE_COUNT, true }, { "cache_saved_usd", TABLE_USD, true }, { "cached_tokens", TABLE_COUNT, true },
        { "prompt_cache_saved_usd", TABLE_USD, true }, { "fallback_answers", TABLE_COUNT, true }, { "fallback_cost_usd", TABLE_USD, true },
    };
    static const struct cell_figure sums[] = {
        { "answers", "sum(cache_answers)" }, { "saved", "sum(saved_nano)" }, { "cached", "sum(input_cached)" },
        { "prompt", "sum(prompt_saved_nano)" }, { "rescued", "sum(fallback_answers)" }, { "rescue", "sum(fallback_nano)" },
    };
    enum { FIGURES = sizeof figures / sizeof *figures };
    struct table_column columns[COLUMNS_MAX];
    struct table *t = table_for(r, columns, figures, FIGURES);
    char keys[512], names[128], cells[CELLS_SQL_SIZE], sql[CELLS_SQL_SIZE + 1024];
    int64_t values[CELL_VALUES];

    if (t == NULL || !report_columns(r, false, keys, sizeof keys) || !report_columns(r, true, names, sizeof names) ||
        !cells_sql(r, sums, FIGURES, cells, sizeof cells))
        return CTL_FAILED;
    snprintf(sql, sizeof sql,
             "SELECT %s, sum(answers), sum(saved), sum(cached), sum(prompt), sum(rescued), sum(rescue) FROM %s AS u LEFT JOIN %s AS w ON w.id = u.who"
             " LEFT JOIN target AS t ON t.id = u.target GROUP BY %s HAVING sum(answers) OR sum(cached) OR sum(rescued) ORDER BY %s",
             keys, cells, cells_who(r), names, names);
    cells_values(r->period.start_s, r->period.end_s, values);
    return table_end(r, "savings", t, ctl_fill(&r->place, r->db, sql, values, CELL_VALUES, t));
}
