#include "admin/csv.h"
#include "admin/tollgatectl_args.h"

#include "config/config.h"
#include "price/price.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_BYTES = 64 << 20, NOTE_SIZE = 200 };

enum column { AT_DATE, AT_MODEL, AT_INPUT, AT_OUTPUT, AT_COST, COLUMNS };

static const char *const column_names[COLUMNS][6] = {
    { "date", "day", "usage_date", "start_time_iso", "usage_date_utc" },
    { "model", "model_version", "snapshot_id" },
    { "input_tokens", "n_context_tokens_total", "prompt_tokens" },
    { "output_tokens", "n_generated_tokens_total", "completion_tokens" },
    { "cost", "cost_usd", "amount", "amount_value" },
};

static bool heading_read(const char *file, const struct slice *fields, int n, int at[COLUMNS])
{
    for (int c = 0; c < COLUMNS; c++) {
        at[c] = -1;
        for (int i = 0; i < n; i++)
            for (int k = 0; k < 6 && column_names[c][k] != NULL; k++)
                if (fields[i].n == strlen(column_names[c][k]) && strncasecmp(fields[i].p, column_names[c][k], fields[i].n) == 0)
                    at[c] = i;
        if (at[c] < 0) {
            fprintf(stderr, "tollgatectl: %s: line 1: no column for the %s; its heading may be:", file, column_names[c][0]);
            for (int k = 0; k < 6 && column_names[c][k] != NULL; k++)
                fprintf(stderr, " %s", column_names[c][k]);
            fputc('\n', stderr);
            return false;
        }
    }
    return true;
}

/* Without a date at its end: -YYYY-MM-DD, -YYYYMMDD. */
static size_t model_base(struct slice m)
{
    static const char *const shapes[] = { "-dddd-dd-dd", "-dddddddd" };

    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(shapes[i]), k = 0;
        if (m.n <= n)
            continue;
        const char *p = m.p + m.n - n;
        while (k < n && (shapes[i][k] == 'd' ? p[k] >= '0' && p[k] <= '9' : p[k] == shapes[i][k]))
            k++;
        if (k == n)
            return m.n - n;
    }
    return m.n;
}

static int decimals_of(struct slice amount)
{
    const char *point = memchr(amount.p, '.', amount.n);
    int n = point != NULL ? (int)(amount.p + amount.n - point) - 1 : 0;

    return n > 9 ? 9 : n;
}

/* Figures go into a table in memory, so that one statement matches both sides. */
static bool line_add(sqlite3_stmt *insert, const struct slice *f, int n, const int at[COLUMNS], char *why, size_t size)
{
    char day[11] = "";
    struct period period;
    int64_t v[COLUMNS];

    for (int c = 0; c < COLUMNS; c++)
        if (at[c] >= n) {
            snprintf(why, size, "it has %d fields, the heading says more", n);
            return false;
        }
    if (f[at[AT_DATE]].n >= 10)
        memcpy(day, f[at[AT_DATE]].p, 10);
    if (!period_parse(day, &period)) {
        snprintf(why, size, "the date is none; wanted: 2026-11-23");
        return false;
    }
    for (int c = AT_INPUT; c <= AT_COST; c++)
        if (price_parse_decimal(f[at[c]], c == AT_COST ? 9 : 0, &v[c], NULL) != PRICE_DONE) {
            snprintf(why, size, "%s is no amount: %.*s", column_names[c][0], f[at[c]].n < 40 ? (int)f[at[c]].n : 40, f[at[c]].n > 0 ? f[at[c]].p : "");
            return false;
        }
    sqlite3_bind_int64(insert, 1, period.start_s);
    sqlite3_bind_text(insert, 2, f[at[AT_MODEL]].p, (int)model_base(f[at[AT_MODEL]]), SQLITE_STATIC);
    for (int c = AT_INPUT; c <= AT_COST; c++)
        sqlite3_bind_int64(insert, c + 1, v[c]);
    sqlite3_bind_int(insert, 6, decimals_of(f[at[AT_COST]]));
    int rc = sqlite3_step(insert);
    sqlite3_reset(insert);
    snprintf(why, size, "out of memory");
    return rc == SQLITE_DONE;
}

static bool invoice_read(const char *file, sqlite3 *db, char *text, size_t n)
{
    struct slice fields[CSV_FIELDS_MAX];
    struct csv csv;
    sqlite3_stmt *insert = NULL;
    char why[160] = "";
    int at[COLUMNS], got;

    csv_start(&csv, text, n);
    if ((got = csv_next(&csv, fields)) <= 0) {
        fprintf(stderr, "tollgatectl: %s: no heading\n", file);
        return false;
    }
    if (!heading_read(file, fields, got, at) ||
        sqlite3_exec(db, "CREATE TEMP TABLE invoice (slot, model, tokens_in, tokens_out, cost, decimals)", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO invoice VALUES (?1, ?2, ?3, ?4, ?5, ?6)", -1, &insert, NULL) != SQLITE_OK)
        return false;
    while ((got = csv_next(&csv, fields)) > 0)
        if (!line_add(insert, fields, got, at, why, sizeof why)) {
            fprintf(stderr, "tollgatectl: %s: line %u: %s\n", file, csv.line, why);
            break;
        }
    sqlite3_finalize(insert);
    if (got < 0)
        fprintf(stderr, "tollgatectl: %s: line %u: quotes do not match, or more than %d fields\n", file, csv.line, CSV_FIELDS_MAX);
    return got == 0;
}

/* Both sides by day and model; names without their dates. Bounded: what stands in the ledger as a hold, because nothing was known. */
#define BASE(m)                                                                                                                             \
    "CASE WHEN " m " GLOB '*-[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]' THEN substr(" m ", 1, length(" m ") - 11)"                            \
    " WHEN " m " GLOB '*-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]' THEN substr(" m ", 1, length(" m ") - 9) ELSE " m " END"

static const char sql[] =
    "WITH theirs AS (SELECT slot, model, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost) AS cost, max(decimals) AS decimals,"
    " count(*) AS n FROM invoice GROUP BY 1, 2),"
    " ours AS (SELECT u.slot, " BASE("t.model") " AS model, sum(u.input + u.input_cached + u.input_cache_write + u.input_cache_write_1h"
    " + u.input_audio) AS tokens_in, sum(u.output + u.output_reasoning + u.output_audio) AS tokens_out, sum(u.cost_nano) AS cost"
    " FROM days AS u JOIN target AS t ON t.id = u.target WHERE u.slot BETWEEN (SELECT min(slot) FROM invoice) AND"
    " (SELECT max(slot) FROM invoice) AND (?1 = '' OR t.provider = ?1) GROUP BY 1, 2 HAVING sum(u.cost_nano) OR sum(u.input + u.output)),"
    " bounded AS (SELECT u.slot, " BASE("t.model") " AS model, sum(u.bounded) AS n FROM days AS u JOIN target AS t ON t.id = u.target"
    " WHERE u.slot BETWEEN (SELECT min(slot) FROM invoice) AND (SELECT max(slot) FROM invoice) AND (?1 = '' OR t.provider = ?1) GROUP BY 1, 2"
    " HAVING sum(u.bounded)),"
    " keys AS (SELECT slot, model FROM theirs UNION SELECT slot, model FROM ours)"
    " SELECT strftime('%Y-%m-%d', k.slot, 'unixepoch'), k.model, i.tokens_in, o.tokens_in, i.tokens_out, o.tokens_out, i.cost, o.cost,"
    " i.decimals, coalesce(b.n, 0), i.n FROM keys AS k LEFT JOIN theirs AS i USING (slot, model) LEFT JOIN ours AS o USING (slot, model)"
    " LEFT JOIN bounded AS b USING (slot, model) ORDER BY 1, 2";

/* What explains a row's difference; "matches" when there is none. */
static void explain(sqlite3_stmt *s, char *note, size_t size)
{
    bool theirs = sqlite3_column_type(s, 6) != SQLITE_NULL, ours = sqlite3_column_type(s, 7) != SQLITE_NULL;
    int64_t in = sqlite3_column_int64(s, 2) - sqlite3_column_int64(s, 3), out = sqlite3_column_int64(s, 4) - sqlite3_column_int64(s, 5);
    int64_t cost = sqlite3_column_int64(s, 6) - sqlite3_column_int64(s, 7), bounded = sqlite3_column_int64(s, 9), unit = 1;

    for (int i = sqlite3_column_int(s, 8); i < 9; i++)
        unit *= 10;
    unit *= sqlite3_column_int64(s, 10) > 0 ? sqlite3_column_int64(s, 10) : 1; /* each line of the invoice was rounded */
    if (!theirs && sqlite3_column_int64(s, 3) == 0 && sqlite3_column_int64(s, 5) == 0)
        snprintf(note, size, "in the ledger only: corrections to requests of another month");
    else if (!theirs)
        snprintf(note, size, "in the ledger only: billed later, under another model name, or by another provider (--provider)");
    else if (!ours)
        snprintf(note, size, "on the invoice only: used past the gateway, or under another model name");
    else if (in == 0 && out == 0 && (cost < 0 ? -cost : cost) < unit)
        snprintf(note, size, "matches");
    else if (bounded > 0)
        snprintf(note, size, "%" PRId64 " bounded request%s stand%s in the ledger with the hold instead of the usage", bounded, bounded == 1 ? "" : "s",
                 bounded == 1 ? "s" : "");
    else if (in == 0 && out == 0)
        snprintf(note, size, "same tokens, another price: compare tollgatectl prices list %s", (const char *)sqlite3_column_text(s, 1));
    else if (in >= 0 && out >= 0)
        snprintf(note, size, "%" PRId64 " input and %" PRId64 " output tokens more on the invoice: used past the gateway, or counted locally after a cut", in, out);
    else if (in <= 0 && out <= 0)
        snprintf(note, size, "%" PRId64 " input and %" PRId64 " output tokens more in the ledger: billed later, or counted locally after a cut", -in, -out);
    else
        snprintf(note, size, "tokens differ both ways (input %+" PRId64 ", output %+" PRId64 "): day boundary, or another way of counting", in, out);
}

static bool compare(const struct ctl_place *p, sqlite3 *db, const char *provider, struct table *t, size_t *differences)
{
    sqlite3_stmt *s = NULL;
    char note[NOTE_SIZE];

    int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        sqlite3_bind_text(s, 1, provider != NULL ? provider : "", -1, SQLITE_STATIC);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        for (int i = 0; i < 8; i++)
            if (i < 2)
                table_text(t, slice_make((const char *)sqlite3_column_text(s, i), (size_t)sqlite3_column_bytes(s, i)));
            else if (sqlite3_column_type(s, i) == SQLITE_NULL)
                table_null(t);
            else
                table_int(t, sqlite3_column_int64(s, i));
        table_int(t, sqlite3_column_int64(s, 6) - sqlite3_column_int64(s, 7));
        explain(s, note, sizeof note);
        table_text(t, slice_cstr(note));
        *differences += strcmp(note, "matches") != 0;
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE)
        ctl_sql_failed(p, db);
    sqlite3_finalize(s);
    return rc == SQLITE_DONE;
}

static int invoice_check(const struct ctl_place *p, const char *file, const char *provider, enum table_format format)
{
    static const struct table_column columns[] = {
        { "date", TABLE_TEXT, false }, { "model", TABLE_TEXT, false }, { "invoice_input", TABLE_COUNT, true }, { "ledger_input", TABLE_COUNT, true },
        { "invoice_output", TABLE_COUNT, true }, { "ledger_output", TABLE_COUNT, true }, { "invoice_usd", TABLE_USD, true },
        { "ledger_usd", TABLE_USD, true }, { "difference_usd", TABLE_USD, true }, { "explanation", TABLE_TEXT, false },
    };
    struct table *t = table_new(columns, sizeof columns / sizeof *columns);
    char *text = malloc(FILE_MAX_BYTES);
    FILE *f = fopen(file, "rbe");
    sqlite3 *db = NULL;
    size_t differences = 0;
    int rc = CTL_FAILED;

    if (f == NULL || text == NULL || t == NULL) {
        fprintf(stderr, "tollgatectl: cannot open %s: %s\n", file, strerror(errno));
        goto out;
    }
    size_t n = fread(text, 1, FILE_MAX_BYTES, f);
    if (n == FILE_MAX_BYTES) {
        fprintf(stderr, "tollgatectl: %s is larger than %d bytes; check month by month\n", file, FILE_MAX_BYTES);
        goto out;
    }
    if ((db = ctl_ledger_open(p)) == NULL || !invoice_read(file, db, text, n) || !compare(p, db, provider, t, &differences) ||
        table_write(t, format, "", stdout) != 0)
        goto out;
    if (format == FORMAT_TABLE)
        printf("%zu of %zu match\n", table_rows(t) - differences, table_rows(t));
    rc = differences == 0 ? CTL_DONE : CTL_FAILED;
out:
    sqlite3_close(db);
    if (f != NULL)
        fclose(f);
    free(text);
    table_free(t);
    return rc;
}

int ctl_invoice(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[2] = { NULL, NULL }, *format = NULL, *provider = NULL;
    bool json = false, help = false;
    const struct ctl_arg args[] = { { "--ledger", &p.ledger, NULL }, { "--config", &p.config_file, NULL }, { "--provider", &provider, NULL },
                                    { "--format", &format, NULL }, { "--json", NULL, &json }, { "--help", NULL, &help } };
    enum table_format f;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 2, &n) || !ctl_format(format, json, &f))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "invoice");
    if (n != 2 || strcmp(words[0], "check") != 0)
        return ctl_help(stderr, "invoice");
    int rc = ctl_place_find(&p) ? invoice_check(&p, words[1], provider, f) : CTL_FAILED;
    config_free(p.config);
    return rc;
}
