#include "admin/tollgatectl_report.h"

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

/* What was spent in slots from ?1 until before ?3, as u (slot, who, target, cost). Whole days come from the roll-up by day; the day of ?3
 * (which begins at ?2) in 15 minutes. By user there is only the latter. */
static const char *spent_until(const struct report *r)
{
    return r->by_user ? "(SELECT slot, who, target, cost_nano AS cost FROM rollup_row WHERE slot >= ?1 AND slot < ?3 AND ?2 = ?2)"
                      : "(SELECT slot, who, target, cost_nano AS cost FROM rollup_day_row WHERE slot >= ?1 AND slot < ?2 UNION ALL"
                        " SELECT q.slot, x.account, q.target, q.cost_nano FROM rollup_row AS q JOIN who AS x ON x.id = q.who"
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
             keys, spent_until(r), r->by_user ? "who" : "account", names, names, names, names);
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
             "SELECT %s, sum(u.now) AS now, sum(u.before) AS before FROM (SELECT who, target, sum(iif(slot >= ?2, cost_nano, 0)) AS now,"
             " sum(iif(slot < ?2, cost_nano, 0)) AS before FROM rollup_row WHERE slot >= ?1 AND slot < ?3 GROUP BY who, target) AS u"
             " JOIN who AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target GROUP BY %s HAVING sum(u.now) OR sum(u.before)"
             " ORDER BY abs(sum(u.now) - sum(u.before)) DESC, %s", keys, names, names);
    const int64_t values[] = { r->at_s - 14 * PERIOD_DAY_S, r->at_s - 7 * PERIOD_DAY_S, r->at_s };
    int rc = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    for (int i = 0; rc == SQLITE_OK && i < 3; i++)
        rc = sqlite3_bind_int64(s, i + 1, values[i]);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
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
    if (rc != SQLITE_DONE)
        ctl_sql_failed(&r->place, r->db);
    sqlite3_finalize(s);
    return table_end(r, "movers", t, rc == SQLITE_DONE);
}

/* ---- savings, from the requests themselves -------------------------------------------------------------------------------- */

/* What a cached token would have cost at the full input price of the version and tier the request was priced with. */
#define PROMPT_CACHE_SAVED                                                                                                        \
    "iif(u.input_cached > 0, (SELECT u.input_cached * (p.input - p.input_cached) / 1000 FROM price AS p"                            \
    " WHERE p.version = u.price_version AND p.provider = t.provider AND p.model = t.model AND (p.tier = 0 OR p.above < u.input_all)" \
    " ORDER BY p.tier DESC LIMIT 1), 0)"

int report_savings(const struct report *r)
{
    static const struct table_column figures[] = {
        { "cache_answers", TABLE_COUNT, true }, { "cache_saved_usd", TABLE_USD, true }, { "cached_tokens", TABLE_COUNT, true },
        { "prompt_cache_saved_usd", TABLE_USD, true }, { "fallback_answers", TABLE_COUNT, true }, { "fallback_cost_usd", TABLE_USD, true },
    };
    struct table_column columns[COLUMNS_MAX];
    struct table *t = table_for(r, columns, figures, sizeof figures / sizeof *figures);
    char keys[512], names[128], sql[SQL_SIZE];

    if (t == NULL || !report_columns(r, false, keys, sizeof keys) || !report_columns(r, true, names, sizeof names))
        return CTL_FAILED;
    snprintf(sql, sizeof sql,
             "SELECT %s, sum(u.saved_nano > 0), sum(u.saved_nano), sum(u.input_cached), sum(coalesce(" PROMPT_CACHE_SAVED ", 0)),"
             " sum(u.fallback AND u.ok), sum(iif(u.fallback AND u.ok, u.cost_nano, 0)) FROM (SELECT started_us / 1000000 AS slot, who,"
             " coalesce(served, plan) AS target, saved_nano, coalesce(input_cached, 0) AS input_cached, cost_nano, price_version,"
             " coalesce(fallback, 0) AS fallback, coalesce(outcome, '') <> 'provider_error' AS ok,"
             " coalesce(input + input_cached + input_cache_write + input_cache_write_1h + input_audio, 0) AS input_all FROM request_row"
             " WHERE started_us >= ?1 AND started_us < ?2 AND state = 1 AND (saved_nano > 0 OR input_cached > 0 OR fallback = 1))"
             " AS u JOIN who AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target GROUP BY %s ORDER BY %s",
             keys, names, names);
    const int64_t values[] = { r->period.start_s * 1000000, r->period.end_s * 1000000 };
    return table_end(r, "savings", t, ctl_fill(&r->place, r->db, sql, values, 2, t));
}
