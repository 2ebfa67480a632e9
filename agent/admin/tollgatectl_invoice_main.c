#include "admin/invoice.h"
#include "admin/tollgatectl_args.h"

#include "config/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Both sides go into tables in memory, so that one statement matches them: the file's lines (invoice), and where its days begin and end in
 * UTC (span). Names of models are matched as invoice_model makes them. */

enum { FILE_MAX_BYTES = 64 << 20, NOTE_SIZE = 320, MODEL_MAX = 200, DAYS_MAX = 800 };

struct check {
    struct ctl_place place;
    sqlite3 *db;
    const char *file, *provider, *zone, *keys; /* provider, zone, keys: may be NULL */
    struct invoice_heading heading;
    bool by_key, utc;
    int64_t first_day, last_day; /* days since 1970 of dates, in the file's time zone */
    int64_t unit_nano;           /* of the last decimal the file's costs have */
    size_t lines;
};

/* ---- days -------------------------------------------------------------------------------------------------------- */

static bool zone_set(const char *zone)
{
    char path[256];

    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", zone);
    if (zone[0] == '\0' || zone[0] == '/' || zone[0] == '.' || strstr(zone, "..") != NULL || access(path, R_OK) != 0) {
        fprintf(stderr, "tollgatectl: --time-zone %s: there is none; allowed: names of the time zone database, as in America/Los_Angeles\n", zone);
        return false;
    }
    setenv("TZ", zone, 1);
    tzset();
    return true;
}

static int64_t day_number(const char *day)
{
    struct period p = { 0, 0 };

    return period_parse(day, &p) ? p.start_s / PERIOD_DAY_S : 0;
}

/* When that date begins in the file's time zone, as seconds UTC. */
static int64_t day_start(const struct check *c, int64_t day)
{
    time_t utc = (time_t)(day * PERIOD_DAY_S);
    struct tm tm;

    gmtime_r(&utc, &tm);
    tm.tm_isdst = -1;
    return c->utc ? (int64_t)utc : (int64_t)mktime(&tm);
}

static int64_t line_day(const struct check *c, const struct invoice_line *line)
{
    char day[11];
    time_t at = (time_t)line->start_s;
    struct tm tm;

    if (!line->instant)
        return day_number(line->day);
    if (c->utc)
        return line->start_s / PERIOD_DAY_S;
    localtime_r(&at, &tm);
    if (strftime(day, sizeof day, "%Y-%m-%d", &tm) == 0)
        return 0;
    return day_number(day);
}

static bool spans_make(const struct check *c)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_exec(c->db, "CREATE TEMP TABLE span (day INTEGER, start INTEGER PRIMARY KEY)", NULL, NULL, NULL) == SQLITE_OK &&
              sqlite3_prepare_v2(c->db, "INSERT INTO span VALUES (?1, ?2)", -1, &s, NULL) == SQLITE_OK;

    for (int64_t day = c->first_day; ok && day <= c->last_day; day++) {
        sqlite3_bind_int64(s, 1, day);
        sqlite3_bind_int64(s, 2, day_start(c, day));
        ok = sqlite3_step(s) == SQLITE_DONE;
        sqlite3_reset(s);
    }
    sqlite3_finalize(s);
    return ok;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* What --keys calls that key of the file; itself when it is not named there. */
static struct slice key_called(const char *keys, struct slice key)
{
    for (const char *p = keys; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, ","), to = strcspn(p, "=");
        if (to < n && slice_eq(key, slice_make(p, to)))
            return slice_make(p + to + 1, n - to - 1);
        p += n + (p[n] == ',');
    }
    return key;
}

static bool keys_good(const char *keys)
{
    for (const char *p = keys; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, ","), to = strcspn(p, "=");
        if (to == 0 || to + 1 >= n) {
            fprintf(stderr, "tollgatectl: --keys %s: wanted: NAME-IN-THE-FILE=NAME-IN-THE-LEDGER,...\n", keys);
            return false;
        }
        p += n + (p[n] == ',');
    }
    return true;
}

static bool line_add(struct check *c, sqlite3_stmt *insert, const struct invoice_line *line)
{
    char model[MODEL_MAX];
    int64_t day = line_day(c, line);
    size_t n = invoice_model(line->model, model, sizeof model);
    const struct slice texts[] = { slice_make(model, n), line->model, key_called(c->keys, line->key), key_called(c->keys, line->key_id) };
    const int64_t figures[] = { line->input, line->cached, line->output, line->requests, line->cost_nano };

    if (c->lines == 0 || day < c->first_day)
        c->first_day = day;
    if (c->lines == 0 || day > c->last_day)
        c->last_day = day;
    if (c->heading.cost && (c->unit_nano == 0 || line->unit_nano < c->unit_nano))
        c->unit_nano = line->unit_nano;
    c->lines++;
    sqlite3_bind_int64(insert, 1, day);
    for (int i = 0; i < 4; i++)
        sqlite3_bind_text(insert, 2 + i, texts[i].n > 0 ? texts[i].p : "", (int)texts[i].n, SQLITE_STATIC);
    for (int i = 0; i < 5; i++)
        sqlite3_bind_int64(insert, 6 + i, figures[i]);
    int rc = sqlite3_step(insert);
    sqlite3_reset(insert);
    return rc == SQLITE_DONE;
}

static bool lines_read(struct check *c, struct csv *csv, sqlite3_stmt *insert)
{
    struct slice fields[CSV_FIELDS_MAX];
    struct invoice_line line;
    char why[200];
    int got;

    while ((got = csv_next(csv, fields)) > 0) {
        if (!invoice_line_read(&c->heading, fields, got, &line, why, sizeof why)) {
            fprintf(stderr, "tollgatectl: %s: line %u: %s\n", c->file, csv->line, why);
            return false;
        }
        if (!line.empty && !line_add(c, insert, &line)) {
            fprintf(stderr, "tollgatectl: out of memory\n");
            return false;
        }
    }
    if (got < 0)
        fprintf(stderr, "tollgatectl: %s: line %u: quotes do not match, or more than %d fields\n", c->file, csv->line, CSV_FIELDS_MAX);
    else if (c->lines == 0)
        fprintf(stderr, "tollgatectl: %s: no line tells of any use\n", c->file);
    else if (c->last_day - c->first_day >= DAYS_MAX)
        fprintf(stderr, "tollgatectl: %s: its days are more than %d days apart; check it in parts\n", c->file, DAYS_MAX);
    else
        return got == 0;
    return false;
}

static bool invoice_read(struct check *c, char *text, size_t n)
{
    struct slice fields[CSV_FIELDS_MAX];
    struct csv csv;
    sqlite3_stmt *insert = NULL;
    char why[300];
    int got;

    csv_start(&csv, text, n);
    if ((got = csv_next(&csv, fields)) <= 0) {
        fprintf(stderr, "tollgatectl: %s: no heading\n", c->file);
        return false;
    }
    if (!invoice_heading_read(fields, got, &c->heading, why, sizeof why)) {
        fprintf(stderr, "tollgatectl: %s: line 1: %s\n", c->file, why);
        return false;
    }
    if (sqlite3_exec(c->db, "CREATE TEMP TABLE invoice (day, model, name, key, key_id, tokens_in, cached, tokens_out, requests, cost)", NULL, NULL,
                     NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(c->db, "INSERT INTO invoice VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", -1, &insert, NULL) != SQLITE_OK) {
        ctl_sql_failed(&c->place, c->db);
        return false;
    }
    bool ok = lines_read(c, &csv, insert);
    sqlite3_finalize(insert);
    return ok;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/* By key, when the file's names of keys, or their ids, are known in the ledger. */
static bool keys_choose(struct check *c)
{
    static const char sql[] = "SELECT (SELECT count(DISTINCT key) FROM invoice WHERE key IN (SELECT key_name FROM target WHERE key_name <> '')),"
                              " (SELECT count(DISTINCT key_id) FROM invoice WHERE key_id IN (SELECT key_name FROM target WHERE key_name <> '')),"
                              " (SELECT group_concat(k, ', ') FROM (SELECT DISTINCT iif(key <> '', key, key_id) AS k FROM invoice LIMIT 5)),"
                              " (SELECT group_concat(k, ', ') FROM (SELECT DISTINCT key_name AS k FROM target WHERE key_name <> ''"
                              " AND (?1 = '' OR provider = ?1) LIMIT 5)), (SELECT max(key <> '' OR key_id <> '') FROM invoice)";
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL) == SQLITE_OK &&
              sqlite3_bind_text(s, 1, c->provider != NULL ? c->provider : "", -1, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;

    if (ok) {
        int64_t by_name = sqlite3_column_int64(s, 0), by_id = sqlite3_column_int64(s, 1);
        const char *theirs = (const char *)sqlite3_column_text(s, 2), *ours = (const char *)sqlite3_column_text(s, 3);
        c->by_key = by_name > 0 || by_id > 0;
        if (!c->by_key && sqlite3_column_int(s, 4) != 0)
            fprintf(stderr, "tollgatectl: matched without keys: those of the file (%s) are none of the ledger's (%s); name them with --keys, or in the "
                            "configuration\n", theirs != NULL ? theirs : "", ours != NULL ? ours : "none");
        ok = sqlite3_exec(c->db, !c->by_key ? "UPDATE invoice SET key = ''" : by_id > by_name ? "UPDATE invoice SET key = key_id" : "", NULL, NULL,
                          NULL) == SQLITE_OK;
    }
    sqlite3_finalize(s);
    return ok;
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

/* Figures of the ledger: sums, the part that is known less well or came late, and of corrections those that stand at another time than their
 * request's: they are counted for its day here, as the provider does. */
#define IN(t) t ".input + " t ".input_cached + " t ".input_cache_write + " t ".input_cache_write_1h + " t ".input_audio"
#define OUT(t) t ".output + " t ".output_reasoning + " t ".output_audio"
#define DAY(slot) "(SELECT day FROM span WHERE start <= " slot " ORDER BY start DESC LIMIT 1)"
#define MOVED(sign, at)                                                                                                                     \
    " UNION ALL SELECT " DAY(at " / 1000000") ", coalesce(r.served, r.plan, 0), " sign "(" IN("c") "), " sign "c.input_cached, " sign "(" OUT("c") "), 0, "       \
    sign "c.cost_nano, " sign "c.discount_nano, " sign "1, " sign "c.cost_nano, 0, 0, 0, 0 FROM correction_row AS c JOIN request_row AS r ON "    \
    "r.id = c.request WHERE c.account_us <> c.started_us AND " at " >= ?3 * 1000000 AND " at " < ?4 * 1000000"

static const char sql_head[] =
    "WITH cell (day, target, tokens_in, cached, tokens_out, requests, cost, discount, corrections, late, bounded, bounded_nano, counted, counted_nano)"
    " AS (SELECT " DAY("u.slot") ", u.target, sum(" IN("u") "), sum(u.input_cached), sum(" OUT("u") "), sum(u.settled), sum(u.cost_nano),"
    " sum(u.discount_nano), sum(u.corrections), sum(u.correction_nano), sum(u.bounded), sum(u.bounded_nano), sum(u.counted), sum(u.counted_nano) FROM ";
static const char sql_tail[] = /* the bounds reach into the arms of the view; a join with the days would not */
    " AS u WHERE u.slot >= ?3 AND u.slot < ?4 GROUP BY u.slot, u.target" MOVED("-", "c.account_us") MOVED("", "c.started_us") "),"
    " ours AS (SELECT c.day, model_base(t.model) AS model, max(t.model) AS name, iif(?2, t.key_name, '') AS key, sum(tokens_in) AS tokens_in,"
    " sum(cached) AS cached, sum(tokens_out) AS tokens_out, sum(requests) AS requests, sum(cost) AS cost, sum(discount) AS discount,"
    " sum(corrections) AS corrections, sum(late) AS late, sum(bounded) AS bounded, sum(bounded_nano) AS bounded_nano, sum(counted) AS counted,"
    " sum(counted_nano) AS counted_nano FROM cell AS c JOIN target AS t ON t.id = c.target WHERE ?1 = '' OR t.provider = ?1 GROUP BY 1, 2, 4"
    " HAVING sum(cost) OR sum(tokens_in) OR sum(tokens_out)),"
    " theirs AS (SELECT day, model, max(name) AS name, key, sum(tokens_in) AS tokens_in, sum(cached) AS cached, sum(tokens_out) AS tokens_out,"
    " sum(requests) AS requests, sum(cost) AS cost, count(*) AS lines FROM invoice GROUP BY 1, 2, 4),"
    " both AS (SELECT day, model, key FROM theirs UNION SELECT day, model, key FROM ours)"
    " SELECT strftime('%Y-%m-%d', b.day * 86400, 'unixepoch'), coalesce(o.name, i.name), b.key, i.lines, i.requests, i.tokens_in, i.cached, i.tokens_out,"
    " i.cost, o.day, o.requests, o.tokens_in, o.cached, o.tokens_out, o.cost, o.discount, o.corrections, o.late, o.bounded, o.bounded_nano, o.counted,"
    " o.counted_nano, count(*) OVER w, sum(coalesce(i.tokens_in, 0) - coalesce(o.tokens_in, 0)) OVER w,"
    " sum(coalesce(i.tokens_out, 0) - coalesce(o.tokens_out, 0)) OVER w, sum(coalesce(i.cost, 0) - coalesce(o.cost, 0)) OVER w"
    " FROM both AS b LEFT JOIN theirs AS i USING (day, model, key) LEFT JOIN ours AS o USING (day, model, key)"
    " WINDOW w AS (PARTITION BY b.model, b.key) ORDER BY b.day, 2, 3";

enum at {
    AT_DATE, AT_NAME, AT_KEY, AT_LINES, AT_THEIRS, AT_OURS_DAY = AT_THEIRS + 5, AT_OURS, AT_DISCOUNT = AT_OURS + 5, AT_CORRECTIONS, AT_LATE,
    AT_BOUNDED, AT_BOUNDED_NANO, AT_COUNTED, AT_COUNTED_NANO, AT_DAYS, AT_ALL_IN, AT_ALL_OUT, AT_ALL_COST
};

struct side {
    bool there;
    int64_t requests, in, cached, out, cost;
};

static struct side side_of(sqlite3_stmt *s, int there, int first)
{
    return (struct side){ sqlite3_column_type(s, there) != SQLITE_NULL, sqlite3_column_int64(s, first), sqlite3_column_int64(s, first + 1),
                          sqlite3_column_int64(s, first + 2), sqlite3_column_int64(s, first + 3), sqlite3_column_int64(s, first + 4) };
}

static int64_t size_of(int64_t v)
{
    return v < 0 ? -v : v;
}

static const char *usd(char *buf, size_t size, int64_t nano)
{
    table_decimal(buf, size, nano, 9, 9);
    return buf;
}

/* Of equal tokens, what makes another price. */
static void explain_price(const struct check *c, sqlite3_stmt *s, const struct side *i, const struct side *o, int64_t unit, char *note, size_t size)
{
    int64_t cost = i->cost - o->cost, discount = sqlite3_column_int64(s, AT_DISCOUNT), late = sqlite3_column_int64(s, AT_LATE);
    char a[32], b[32];

    if (discount != 0 && size_of(cost - discount) < unit)
        snprintf(note, size, "the invoice has the list price, the ledger %s USD less by contract", usd(a, sizeof a, discount));
    else if (late != 0 && size_of(cost + late) < unit)
        snprintf(note, size, "the ledger has %" PRId64 " corrections of %s USD more, booked after the settlement",
                 (int64_t)sqlite3_column_int64(s, AT_CORRECTIONS), usd(a, sizeof a, late));
    else if (c->heading.cached && i->cached != o->cached)
        snprintf(note, size, "cached input is counted differently: %" PRId64 " of %" PRId64 " tokens on the invoice, %" PRId64 " in the ledger", i->cached,
                 i->in, o->cached);
    else
        snprintf(note, size, "%s: %s USD on the invoice, %s in the ledger; compare tollgatectl prices list %s",
                 c->heading.tokens ? "same tokens, another price" : "another amount", usd(a, sizeof a, i->cost), usd(b, sizeof b, o->cost),
                 (const char *)sqlite3_column_text(s, AT_NAME));
}

static void explain_tokens(sqlite3_stmt *s, const struct check *c, const struct side *i, const struct side *o, char *note, size_t size)
{
    int64_t in = i->in - o->in, out = i->out - o->out, more = i->requests - o->requests;
    char requests[64] = "";

    if (c->heading.requests && more != 0)
        snprintf(requests, sizeof requests, " (%" PRId64 " request%s %s)", size_of(more), size_of(more) == 1 ? "" : "s", more > 0 ? "more" : "fewer");
    if (in >= 0 && out >= 0)
        snprintf(note, size, "%" PRId64 " input and %" PRId64 " output tokens more on the invoice%s: used past the gateway%s%s", in, out, requests,
                 c->by_key ? " with this key" : "", sqlite3_column_int64(s, AT_COUNTED) > 0 ? ", or counted locally after a cut" : "");
    else if (in <= 0 && out <= 0)
        snprintf(note, size, "%" PRId64 " input and %" PRId64 " output tokens more in the ledger%s: billed later%s", -in, -out, requests,
                 sqlite3_column_int64(s, AT_COUNTED) > 0 ? ", or counted locally after a cut" : "");
    else
        snprintf(note, size, "tokens differ both ways (input %+" PRId64 ", output %+" PRId64 ")%s: another way of counting, or days cut elsewhere", in, out,
                 requests);
}

/* What explains a row's difference. False: there is none. */
static bool explain(const struct check *c, sqlite3_stmt *s, char *note, size_t size)
{
    const struct side i = side_of(s, AT_LINES, AT_THEIRS), o = side_of(s, AT_OURS_DAY, AT_OURS);
    int64_t lines = sqlite3_column_int64(s, AT_LINES), unit = c->unit_nano * (lines > 0 ? lines : 1); /* each line was rounded */
    int64_t bounded = sqlite3_column_int64(s, AT_BOUNDED), counted = sqlite3_column_int64(s, AT_COUNTED);
    bool tokens = !c->heading.tokens || (i.in == o.in && i.out == o.out);
    bool cost = !c->heading.cost || size_of(i.cost - o.cost) < unit, cached = !c->heading.cached || i.cached == o.cached;
    char a[32];

    if (i.there && o.there && tokens && cost && (cached || c->heading.cost)) {
        snprintf(note, size, !cached                                  ? "matches; cached input is counted differently"
                             : c->heading.cost && i.cost != o.cost ? "matches, but for the invoice's rounding" : "matches");
        return false;
    }
    bool cut = sqlite3_column_int64(s, AT_DAYS) > 1 && (!c->heading.tokens || (sqlite3_column_int64(s, AT_ALL_IN) == 0 && sqlite3_column_int64(s, AT_ALL_OUT) == 0)) &&
               (!c->heading.cost || size_of(sqlite3_column_int64(s, AT_ALL_COST)) < unit * sqlite3_column_int64(s, AT_DAYS));
    if (cut)
        snprintf(note, size, "over all days of the file both sides are the same: its days begin elsewhere than here (--time-zone)");
    else if (!i.there)
        snprintf(note, size, "in the ledger only: billed later, under another model%s, or by another provider (--provider)", c->by_key ? " or key" : " name");
    else if (!o.there)
        snprintf(note, size, "on the invoice only: used past the gateway, or under another model%s", c->by_key ? " or key" : " name");
    else if (bounded > 0)
        snprintf(note, size, "%" PRId64 " bounded request%s stand%s in the ledger with the hold (%s USD) instead of the usage", bounded,
                 bounded == 1 ? "" : "s", bounded == 1 ? "s" : "", usd(a, sizeof a, sqlite3_column_int64(s, AT_BOUNDED_NANO)));
    else if (tokens)
        explain_price(c, s, &i, &o, unit, note, size);
    else if (counted > 0)
        snprintf(note, size, "%" PRId64 " request%s counted locally after a cut (%s USD); input %+" PRId64 ", output %+" PRId64 " tokens on the invoice", counted,
                 counted == 1 ? "" : "s", usd(a, sizeof a, sqlite3_column_int64(s, AT_COUNTED_NANO)), i.in - o.in, i.out - o.out);
    else
        explain_tokens(s, c, &i, &o, note, size);
    return true;
}

static const struct table_column columns[] = {
    { "date", TABLE_TEXT, false }, { "model", TABLE_TEXT, false }, { "key", TABLE_TEXT, false },
    { "invoice_requests", TABLE_COUNT, true }, { "ledger_requests", TABLE_COUNT, true }, { "invoice_input", TABLE_COUNT, true },
    { "ledger_input", TABLE_COUNT, true }, { "invoice_cached", TABLE_COUNT, true }, { "ledger_cached", TABLE_COUNT, true },
    { "invoice_output", TABLE_COUNT, true }, { "ledger_output", TABLE_COUNT, true }, { "invoice_usd", TABLE_USD, true },
    { "ledger_usd", TABLE_USD, true }, { "difference_usd", TABLE_USD, true }, { "explanation", TABLE_TEXT, false },
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static void row_add(const struct check *c, sqlite3_stmt *s, struct table *t)
{
    const bool told[] = { c->heading.requests, c->heading.tokens, c->heading.cached, c->heading.tokens, c->heading.cost };
    const struct side i = side_of(s, AT_LINES, AT_THEIRS), o = side_of(s, AT_OURS_DAY, AT_OURS);

    for (int k = AT_DATE; k <= AT_KEY; k++)
        table_text(t, slice_make((const char *)sqlite3_column_text(s, k), (size_t)sqlite3_column_bytes(s, k)));
    for (int k = 0; k < 5; k++) {
        if (i.there && told[k])
            table_int(t, sqlite3_column_int64(s, AT_THEIRS + k));
        else
            table_null(t);
        if (o.there)
            table_int(t, sqlite3_column_int64(s, AT_OURS + k));
        else
            table_null(t);
    }
    if (c->heading.cost)
        table_int(t, i.cost - o.cost);
    else
        table_null(t);
}

static bool compare(const struct check *c, struct table *t, size_t *differences)
{
    sqlite3_stmt *s = NULL;
    char note[NOTE_SIZE], sql[sizeof sql_head + sizeof sql_tail + 16];

    snprintf(sql, sizeof sql, "%s%s%s", sql_head, c->utc ? "days" : "quarters", sql_tail);
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_text(s, 1, c->provider != NULL ? c->provider : "", -1, SQLITE_STATIC);
        sqlite3_bind_int(s, 2, c->by_key);
        sqlite3_bind_int64(s, 3, day_start(c, c->first_day));
        sqlite3_bind_int64(s, 4, day_start(c, c->last_day + 1));
    }
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        row_add(c, s, t);
        *differences += explain(c, s, note, sizeof note);
        table_text(t, slice_cstr(note));
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE)
        ctl_sql_failed(&c->place, c->db);
    sqlite3_finalize(s);
    return rc == SQLITE_DONE;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static void model_base(sqlite3_context *context, int count, sqlite3_value **values)
{
    char name[MODEL_MAX];
    const char *text = count == 1 ? (const char *)sqlite3_value_text(values[0]) : NULL;

    size_t n = invoice_model(slice_cstr(text), name, sizeof name);
    sqlite3_result_text(context, name, (int)n, SQLITE_TRANSIENT);
}

static bool ledger_open_for(struct check *c)
{
    c->db = ctl_ledger_open(&c->place);
    return c->db != NULL &&
           sqlite3_create_function(c->db, "model_base", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, model_base, NULL, NULL) == SQLITE_OK;
}

static int invoice_check(struct check *c, enum table_format format)
{
    struct table *t = table_new(columns, COLUMNS);
    char *text = malloc(FILE_MAX_BYTES), head[64];
    FILE *f = fopen(c->file, "rbe");
    size_t differences = 0;
    int rc = CTL_FAILED;

    if (f == NULL || text == NULL || t == NULL) {
        fprintf(stderr, "tollgatectl: cannot open %s: %s\n", c->file, strerror(errno));
        goto out;
    }
    size_t n = fread(text, 1, FILE_MAX_BYTES, f);
    if (ferror(f) || n == FILE_MAX_BYTES) {
        fprintf(stderr, ferror(f) ? "tollgatectl: %s cannot be read\n" : "tollgatectl: %s is larger than 64 MB; check month by month\n", c->file);
        goto out;
    }
    if (!ledger_open_for(c) || !invoice_read(c, text, n) || !keys_choose(c) || !spans_make(c) || !compare(c, t, &differences))
        goto out;
    snprintf(head, sizeof head, "\"by_key\":%s,", c->by_key ? "true" : "false");
    if (table_write(t, format, head, stdout) != 0)
        goto out;
    if (format == FORMAT_TABLE)
        printf("%zu of %zu match\n", table_rows(t) - differences, table_rows(t));
    rc = differences == 0 ? CTL_DONE : CTL_FAILED;
out:
    sqlite3_close(c->db);
    if (f != NULL)
        fclose(f);
    free(text);
    table_free(t);
    return rc;
}

int ctl_invoice(int argc, char **argv)
{
    struct check c = { .utc = true };
    const char *words[2] = { NULL, NULL }, *format = NULL;
    bool json = false, help = false;
    const struct ctl_arg args[] = { { "--ledger", &c.place.ledger, NULL }, { "--config", &c.place.config_file, NULL },
                                    { "--provider", &c.provider, NULL }, { "--time-zone", &c.zone, NULL }, { "--keys", &c.keys, NULL },
                                    { "--format", &format, NULL }, { "--json", NULL, &json }, { "--help", NULL, &help } };
    enum table_format f;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 2, &n) || !ctl_format(format, json, &f))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "invoice");
    if (n != 2 || strcmp(words[0], "check") != 0)
        return ctl_help(stderr, "invoice");
    if (!keys_good(c.keys) || (c.zone != NULL && !zone_set(c.zone)))
        return CTL_USAGE;
    c.file = words[1];
    c.utc = c.zone == NULL || strcmp(c.zone, "UTC") == 0;
    int rc = ctl_place_find(&c.place) ? invoice_check(&c, f) : CTL_FAILED;
    config_free(c.place.config);
    return rc;
}
