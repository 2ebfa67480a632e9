/* tollgatectl request: one request by the id its client got, day by day from the newest. The ledger keeps no index on these ids: they
 * are random, so with a large file each row would dirty a page of its own, and rows come far more often than questions. */
#include "admin/tollgatectl_args.h"
#include "base/clock.h"
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

enum { DAYS = 31 };

static const struct table_column columns[] = {
    { "id", TABLE_COUNT, false }, { "started", TABLE_TEXT, false }, { "team", TABLE_TEXT, false }, { "user", TABLE_TEXT, false },
    { "alias", TABLE_TEXT, false }, { "provider", TABLE_TEXT, false }, { "model", TABLE_TEXT, false },
    { "provider_key", TABLE_TEXT, false }, { "state", TABLE_TEXT, false },
    { "deny_reason", TABLE_TEXT, false }, { "outcome", TABLE_TEXT, false }, { "known_by", TABLE_TEXT, false },
    { "provider_request_id", TABLE_TEXT, false }, { "hold_usd", TABLE_USD, false }, { "cost_usd", TABLE_USD, false }, { "corrections_usd", TABLE_USD, false }
};
enum { COLUMNS = sizeof columns / sizeof *columns };
static const char sql[] =
    "SELECT id, started, team, user_name, alias, provider, model, provider_key, state, deny_reason, outcome, known_by, provider_request_id, hold_nano, cost_nano,"
    " (SELECT coalesce(sum(c.cost_nano), 0) FROM correction_row AS c WHERE c.request = request.id)"
    " FROM request WHERE started_us >= ?2 AND started_us < ?3 AND request_id = ?1";

static const struct table_column tries[] = {
    { "number", TABLE_COUNT, false }, { "started", TABLE_TEXT, false }, { "group", TABLE_TEXT, false }, { "model", TABLE_TEXT, false },
    { "http_status", TABLE_COUNT, false }, { "outcome", TABLE_TEXT, false }, { "first_byte_us", TABLE_COUNT, false }, { "total_us", TABLE_COUNT, false },
    { "provider_request_id", TABLE_TEXT, false }
};
enum { TRIES = sizeof tries / sizeof *tries };
static const char tries_sql[] = "SELECT number, started, provider_group, model, http_status, outcome, first_byte_us, total_us, provider_request_id"
                                " FROM attempt WHERE request = ?1 ORDER BY number";

static void row(struct table *t, sqlite3_stmt *s, const struct table_column *of, int count)
{
    for (int i = 0; i < count; i++) {
        if (sqlite3_column_type(s, i) == SQLITE_NULL)
            table_null(t);
        else if (of[i].kind == TABLE_TEXT)
            table_text(t, slice_cstr((const char *)sqlite3_column_text(s, i)));
        else
            table_int(t, sqlite3_column_int64(s, i));
    }
}

/* SQLITE_ROW when it was found, SQLITE_DONE when not, else an error. */
static int look(sqlite3_stmt *s, struct period when, struct table *t, int64_t *id)
{
    sqlite3_bind_int64(s, 2, when.start_s * 1000000);
    sqlite3_bind_int64(s, 3, when.end_s * 1000000);
    int rc = sqlite3_step(s), last = rc;
    for (; last == SQLITE_ROW; last = sqlite3_step(s)) {
        *id = sqlite3_column_int64(s, 0);
        row(t, s, columns, COLUMNS);
    }
    sqlite3_reset(s);
    return last == SQLITE_DONE ? rc : last;
}

/* The request, and its tries at providers: below it in the table, as "attempts" in JSON. */
static bool write_all(const struct ctl_place *p, sqlite3 *db, int64_t id, const struct table *t, enum table_format format)
{
    struct table *attempts = table_new(tries, TRIES);
    sqlite3_stmt *s = NULL;
    char *head = NULL;
    size_t n = 0;
    bool ok = attempts != NULL && sqlite3_prepare_v2(db, tries_sql, -1, &s, NULL) == SQLITE_OK && sqlite3_bind_int64(s, 1, id) == SQLITE_OK;

    int rc = ok ? sqlite3_step(s) : SQLITE_ERROR;
    for (; rc == SQLITE_ROW; rc = sqlite3_step(s))
        row(attempts, s, tries, TRIES);
    if (rc != SQLITE_DONE)
        ctl_sql_failed(p, db);
    FILE *text = rc == SQLITE_DONE && format == FORMAT_JSON ? open_memstream(&head, &n) : NULL;
    ok = rc == SQLITE_DONE && (text == NULL || table_write(attempts, format, "", text) == 0);
    if (text != NULL)
        fclose(text);
    if (ok && text != NULL) { /* {"rows":[...]} becomes "attempts":[...], in front of the request's own rows */
        char *start = strchr(head, '['), *end = strrchr(head, ']'), *front = NULL;
        if (start == NULL || end == NULL || asprintf(&front, "\"attempts\":%.*s,", (int)(end + 1 - start), start) < 0)
            abort();
        ok = table_write(t, format, front, stdout) == 0;
        free(front);
    } else if (ok) {
        ok = table_write(t, format, "", stdout) == 0;
        if (ok && format == FORMAT_TABLE && table_rows(attempts) > 0) {
            putchar('\n');
            ok = table_write(attempts, format, "", stdout) == 0;
        }
    }
    free(head);
    sqlite3_finalize(s);
    table_free(attempts);
    return ok;
}

static int find(const struct ctl_place *p, const char *id, const struct period *when, enum table_format format)
{
    sqlite3 *db = ctl_ledger_open(p);
    sqlite3_stmt *s = NULL;
    struct table *t = table_new(columns, COLUMNS);
    int rc = SQLITE_NOMEM, result = CTL_FAILED;
    int64_t number = 0;

    if (db != NULL && t != NULL && sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC) == SQLITE_OK) {
        struct period day = { 0, (clock_wall_us() / 1000000 / PERIOD_DAY_S + 1) * PERIOD_DAY_S };
        rc = when != NULL ? look(s, *when, t, &number) : SQLITE_DONE;
        for (int i = 0; when == NULL && i < DAYS && rc == SQLITE_DONE; i++, day.end_s -= PERIOD_DAY_S) {
            day.start_s = day.end_s - PERIOD_DAY_S;
            rc = look(s, day, t, &number);
        }
    }
    if (rc == SQLITE_ROW)
        result = write_all(p, db, number, t, format) ? CTL_DONE : CTL_FAILED;
    else if (rc == SQLITE_DONE)
        fprintf(stderr, "tollgatectl: no request %s in %s %s; name another --day, or an archive with --ledger\n", id, p->file,
                when != NULL ? "at that time" : "in the last 31 days");
    else if (db != NULL)
        ctl_sql_failed(p, db);
    sqlite3_finalize(s);
    table_free(t);
    sqlite3_close(db);
    return result;
}

int ctl_request(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[1] = { NULL }, *day = NULL, *word = NULL;
    bool json = false, help = false;
    const struct ctl_arg args[] = { { "--ledger", &p.ledger, NULL }, { "--config", &p.config_file, NULL }, { "--day", &day, NULL },
                                    { "--format", &word, NULL }, { "--json", NULL, &json }, { "--help", NULL, &help } };
    enum table_format format;
    struct period when;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 1, &n) || !ctl_format(word, json, &format))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "request");
    if (n != 1)
        return ctl_help(stderr, "request");
    if (day != NULL && !period_parse(day, &when)) {
        fprintf(stderr, "tollgatectl: --day %s: allowed is a day or a month such as 2026-11-23 or 2026-11\n", day);
        return CTL_USAGE;
    }
    int rc = ctl_place_find(&p) ? find(&p, words[0], day != NULL ? &when : NULL, format) : CTL_FAILED;
    config_free(p.config);
    return rc;
}
