#include "admin/tollgatectl_cells.h"

#include "base/clock.h"
#include "config/config.h"

#include <inttypes.h>
#include <string.h>

static const struct dimension dimensions[] = {
    { "team", "w.team", false, false },
    { "model", "coalesce(t.model, '')", false, false },
    { "cost_center", "w.cost_center", false, false },
    { "user", "w.user_name", true, false },
    { "app", "w.application", false, false },
    { "organization", "w.organization", false, false },
    { "provider", "coalesce(t.provider, '')", false, false },
    { "provider_key", "coalesce(t.key_name, '')", false, false },
    { "day", "strftime('%Y-%m-%d', u.slot, 'unixepoch')", false, true },
    { "month", "strftime('%Y-%m', u.slot, 'unixepoch')", false, true },
};

enum { DIMENSIONS = sizeof dimensions / sizeof *dimensions, ANOMALIES_TOP = 1000 };

static bool dimensions_parse(struct report *r, const char *text)
{
    while (text != NULL && *text != '\0') {
        size_t n = strcspn(text, ","), i = 0;
        while (i < DIMENSIONS && !slice_eq_cstr(slice_make(text, n), dimensions[i].name))
            i++;
        if (i == DIMENSIONS) {
            fprintf(stderr, "tollgatectl: --by: there is no dimension \"%.*s\"; allowed:", (int)n, text);
            for (i = 0; i < DIMENSIONS; i++)
                fprintf(stderr, " %s", dimensions[i].name);
            fputc('\n', stderr);
            return false;
        }
        for (size_t k = 0; k < r->by_count; k++)
            if (r->by[k] == &dimensions[i]) {
                fprintf(stderr, "tollgatectl: --by: %s stands twice\n", dimensions[i].name);
                return false;
            }
        if (r->by_count == DIMENSIONS_MAX) {
            fprintf(stderr, "tollgatectl: --by: at most %d dimensions\n", DIMENSIONS_MAX);
            return false;
        }
        r->by[r->by_count++] = &dimensions[i];
        r->by_user = r->by_user || dimensions[i].by_user;
        text += n;
        if (*text == ',' && *++text == '\0') {
            fprintf(stderr, "tollgatectl: --by ends with a comma\n");
            return false;
        }
    }
    if (r->by_count == 0)
        r->by[r->by_count++] = &dimensions[0];
    return true;
}

bool report_columns(const struct report *r, bool names_only, char *buf, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < r->by_count && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s%sd%zu", i > 0 ? ", " : "", names_only ? "" : r->by[i]->sql,
                                 names_only ? "" : " AS ", i);
    return used < size;
}

void report_head(const struct report *r, const char *kind, char *buf, size_t size)
{
    char from[24], to[24], at[24];

    period_day_text(r->period.start_s, from, sizeof from);
    period_day_text(r->period.end_s - 1, to, sizeof to);
    period_instant_text(r->at_s, at, sizeof at);
    if (strcmp(kind, "burn") == 0 || strcmp(kind, "movers") == 0)
        snprintf(buf, size, "\"kind\":\"%s\",\"at\":\"%s\",", kind, at);
    else
        snprintf(buf, size, "\"kind\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",", kind, from, to);
}

static int report_spend(const struct report *r)
{
    static const struct table_column figures[] = {
        { "requests", TABLE_COUNT, true }, { "denied", TABLE_COUNT, true }, { "corrections", TABLE_COUNT, true },
        { "input_tokens", TABLE_COUNT, true }, { "cached_tokens", TABLE_COUNT, true }, { "output_tokens", TABLE_COUNT, true },
        { "cost_usd", TABLE_USD, true },
    };
    static const struct cell_figure sums[] = {
        { "requests", "sum(settled + denied)" }, { "denied", "sum(denied)" }, { "corrections", "sum(corrections)" },
        { "tokens_in", "sum(input + input_cached + input_cache_write + input_cache_write_1h + input_audio)" },
        { "tokens_cached", "sum(input_cached)" }, { "tokens_out", "sum(output + output_reasoning + output_audio)" }, { "cost", "sum(cost_nano)" },
    };
    enum { FIGURES = sizeof figures / sizeof *figures };
    struct table_column columns[DIMENSIONS_MAX + FIGURES];
    char keys[512], names[128], cells[CELLS_SQL_SIZE], sql[CELLS_SQL_SIZE + 1024], head[160];
    int64_t values[CELL_VALUES];
    int rc = CTL_FAILED;

    for (size_t i = 0; i < r->by_count; i++)
        columns[i] = (struct table_column){ r->by[i]->name, TABLE_TEXT, false };
    memcpy(columns + r->by_count, figures, sizeof figures);
    struct table *t = table_new(columns, r->by_count + FIGURES);
    if (t == NULL || !report_columns(r, false, keys, sizeof keys) || !report_columns(r, true, names, sizeof names) ||
        !cells_sql(r, sums, FIGURES, cells, sizeof cells))
        goto out;
    snprintf(sql, sizeof sql,
             "SELECT %s, sum(requests), sum(denied), sum(corrections), sum(tokens_in), sum(tokens_cached), sum(tokens_out), sum(cost)"
             " FROM %s AS u LEFT JOIN %s AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target GROUP BY %s ORDER BY %s",
             keys, cells, cells_who(r), names, names);
    report_head(r, "spend", head, sizeof head);
    cells_values(r->period.start_s, r->period.end_s, values);
    if (ctl_fill(&r->place, r->db, sql, values, CELL_VALUES, t) && table_write(t, r->format, head, stdout) == 0)
        rc = CTL_DONE;
out:
    table_free(t);
    return rc;
}

static bool number_parse(const char *text, int64_t min, int64_t *out)
{
    size_t n = strspn(text, "0123456789");

    *out = 0;
    for (size_t i = 0; i < n && n <= 9; i++)
        *out = *out * 10 + (text[i] - '0');
    return n > 0 && n <= 9 && text[n] == '\0' && *out >= min;
}

enum { TAKES_BY = 1, TAKES_PERIOD = 2, TAKES_AT = 4, TAKES_FACTOR = 8, TAKES_TOP = 16 };

static const struct kind {
    const char *name;
    int (*run)(const struct report *r);
    unsigned takes;
} kinds[] = { { "spend", report_spend, TAKES_BY | TAKES_PERIOD }, { "burn", report_burn, TAKES_BY | TAKES_AT },
              { "movers", report_movers, TAKES_BY | TAKES_AT | TAKES_TOP }, { "anomalies", report_anomalies, TAKES_PERIOD | TAKES_FACTOR | TAKES_TOP },
              { "savings", report_savings, TAKES_BY | TAKES_PERIOD } },
  focus_kind = { "--format focus", report_focus, TAKES_PERIOD };

/* An option that a kind does not look at would be believed to have been obeyed. */
static bool option_goes(const struct kind *kind, unsigned what, const char *option, const char *value)
{
    const char *separator = " ";

    if (value == NULL || (kind->takes & what))
        return true;
    fprintf(stderr, "tollgatectl: %s does not go with %s; it goes with:", option, kind->name);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].takes & what) {
            fprintf(stderr, "%s%s", separator, kinds[i].name);
            separator = ", ";
        }
    fputc('\n', stderr);
    return false;
}

static const struct kind *kind_find(const char *name, const struct report *r)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(name, kinds[i].name) != 0)
            continue;
        for (size_t k = 0; k < r->by_count && (kinds[i].run == report_burn || kinds[i].run == report_movers); k++)
            if (r->by[k]->by_time) {
                fprintf(stderr, "tollgatectl: --by %s makes no sense for %s, which compares times itself\n", r->by[k]->name, name);
                return NULL;
            }
        return &kinds[i];
    }
    fprintf(stderr, "tollgatectl: there is no kind %s; allowed: spend, burn, movers, anomalies, savings\n", name);
    return NULL;
}

int ctl_report(int argc, char **argv)
{
    struct report r = { .factor = 10, .at_s = clock_wall_us() / 1000000 };
    const char *by = NULL, *from = NULL, *to = NULL, *format = NULL, *at = NULL, *factor = NULL, *top = NULL, *name = "spend";
    bool json = false, help = false;
    const struct ctl_arg args[] = {
        { "--ledger", &r.place.ledger, NULL }, { "--config", &r.place.config_file, NULL }, { "--kind", &name, NULL }, { "--by", &by, NULL },
        { "--from", &from, NULL }, { "--to", &to, NULL }, { "--at", &at, NULL }, { "--factor", &factor, NULL }, { "--top", &top, NULL }, { "--format", &format, NULL },
        { "--json", NULL, &json }, { "--help", NULL, &help },
    };
    size_t words;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, NULL, 0, &words))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "report");
    bool focus = format != NULL && strcmp(format, "focus") == 0;
    if (at != NULL && !period_instant(at, &r.at_s)) {
        fprintf(stderr, "tollgatectl: --at %s is no time; allowed: 2026-11-23 or 2026-11-23T14:30 (UTC)\n", at);
        return CTL_USAGE;
    }
    if (factor != NULL && !number_parse(factor, 1, &r.factor)) {
        fprintf(stderr, "tollgatectl: --factor %s: a whole number from 1 on\n", factor);
        return CTL_USAGE;
    }
    if (top != NULL && !number_parse(top, 0, &r.top)) {
        fprintf(stderr, "tollgatectl: --top %s: a whole number\n", top);
        return CTL_USAGE;
    }
    if (top == NULL && strcmp(name, "anomalies") == 0)
        r.top = ANOMALIES_TOP;
    if (!dimensions_parse(&r, by) || !ctl_period(from, to, &r.period) || (!focus && !ctl_format(format, json, &r.format)))
        return CTL_USAGE;
    const struct kind *kind = kind_find(name, &r);
    if (kind == NULL)
        return CTL_USAGE;
    if (focus && (json || kind != &kinds[0])) {
        fprintf(stderr, "tollgatectl: --format focus is a report of its own, in CSV; it goes with --from and --to alone\n");
        return CTL_USAGE;
    }
    if (focus)
        kind = &focus_kind;
    if (!option_goes(kind, TAKES_BY, "--by", by) || !option_goes(kind, TAKES_PERIOD, "--from", from) || !option_goes(kind, TAKES_PERIOD, "--to", to) ||
        !option_goes(kind, TAKES_AT, "--at", at) || !option_goes(kind, TAKES_FACTOR, "--factor", factor) || !option_goes(kind, TAKES_TOP, "--top", top))
        return CTL_USAGE;
    int rc = CTL_FAILED;
    if (ctl_place_find(&r.place) && (r.db = ctl_ledger_open(&r.place)) != NULL)
        rc = kind->run(&r);
    sqlite3_close(r.db);
    config_free(r.place.config);
    return rc;
}
