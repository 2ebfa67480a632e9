#include "admin/tollgatectl_book.h"
#include "admin/tollgatectl_prices.h"

#include "config/config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Requests of one target. */
struct group {
    int64_t target, requests, changed, old_nano, new_nano;
    char *provider, *model;
};

struct repricing {
    const struct price_table *prices;
    struct group *groups;
    size_t group_count;
    struct ctl_correction *corrections;
    size_t count, room;
    int64_t unknown, unpriced; /* requests left as they are */
    bool failed;
};

static struct group *group_of(struct repricing *r, sqlite3_stmt *s)
{
    int64_t target = sqlite3_column_int64(s, 1);

    for (size_t i = 0; i < r->group_count; i++)
        if (r->groups[i].target == target)
            return &r->groups[i];
    struct group *more = realloc(r->groups, (r->group_count + 1) * sizeof *more);
    if (more == NULL)
        return NULL;
    r->groups = more;
    struct group *g = &r->groups[r->group_count];
    *g = (struct group){ .target = target, .provider = strdup((const char *)sqlite3_column_text(s, 2)),
                         .model = strdup((const char *)sqlite3_column_text(s, 3)) };
    r->group_count++;
    return g->provider != NULL && g->model != NULL ? g : NULL;
}

static bool correction_add(struct repricing *r, const struct ctl_correction *c)
{
    if (r->count == r->room) {
        size_t room = r->room > 0 ? r->room * 2 : 1024;
        struct ctl_correction *more = realloc(r->corrections, room * sizeof *more);
        if (more == NULL)
            return false;
        r->corrections = more;
        r->room = room;
    }
    r->corrections[r->count++] = *c;
    return true;
}

/* One request as it stands with its corrections. */
static bool reprice_row(struct repricing *r, sqlite3_stmt *s)
{
    const enum known_by known = (enum known_by)sqlite3_column_int(s, 4);
    int64_t old = sqlite3_column_int64(s, 5), new = 0, list, v[PRICE_KINDS];
    int64_t old_discount = sqlite3_column_int64(s, 6 + PRICE_KINDS), discount = old_discount;

    if (known != KNOWN_REPORTED && known != KNOWN_COUNTED) {
        r->unknown += known == KNOWN_BOUNDED;
        return true;
    }
    for (int k = 0; k < PRICE_KINDS; k++)
        v[k] = sqlite3_column_int64(s, 6 + k);
    struct group *g = group_of(r, s);
    if (g == NULL)
        return false;
    const struct token_usage usage = { v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], sqlite3_column_int64(s, 9 + PRICE_KINDS),
                                       sqlite3_column_int64(s, 10 + PRICE_KINDS), sqlite3_column_int64(s, 11 + PRICE_KINDS), 1 };
    const struct identity who = { .organization = slice_cstr((const char *)sqlite3_column_text(s, 7 + PRICE_KINDS)),
                                  .team = slice_cstr((const char *)sqlite3_column_text(s, 8 + PRICE_KINDS)) };
    const struct slice provider = slice_cstr(g->provider), model = slice_cstr(g->model);
    const struct price_terms t = price_terms_for(r->prices, price_lookup(r->prices, provider, model, NULL), &who, provider, model);
    if (t.billed == NULL || price_cost(t.billed, &usage, t.discount_bp, &new) != PRICE_DONE) {
        r->unpriced++;
        new = old;
    } else {
        discount = t.list != NULL && price_cost(t.list, &usage, 0, &list) == PRICE_DONE ? list - new : 0;
    }
    g->requests++;
    g->changed += new != old || discount != old_discount;
    g->old_nano += old;
    g->new_nano += new;
    const struct ctl_correction c = { sqlite3_column_int64(s, 0), new - old, discount - old_discount, price_table_id(r->prices), known };
    return (new == old && discount == old_discount) || correction_add(r, &c);
}

#define SUM(kind) " coalesce(r." kind ", 0) + coalesce(c." kind ", 0)"

static bool reprice_all(struct repricing *r, const struct ctl_place *p, const struct period *period, bool *known_version)
{
    static const char sql[] =
        "SELECT r.id, t.id, t.provider, t.model,"
        " coalesce((SELECT known_by FROM correction_row AS k WHERE k.id = c.last), r.known_by), r.cost_nano + coalesce(c.cost_nano, 0),"
        SUM("input") "," SUM("input_cached") "," SUM("input_cache_write") "," SUM("input_cache_write_1h") "," SUM("output") ","
        SUM("output_reasoning") "," SUM("input_audio") "," SUM("output_audio") ", r.discount_nano + coalesce(c.discount_nano, 0), w.organization, w.team, r.images, r.images_out, r.output_image"
        " FROM request_row AS r JOIN target AS t ON t.id = r.served JOIN who AS w ON w.id = r.who LEFT JOIN (SELECT request, max(id) AS last, sum(cost_nano) AS cost_nano, sum(discount_nano) AS discount_nano,"
        " sum(input) AS input, sum(input_cached) AS input_cached, sum(input_cache_write) AS input_cache_write,"
        " sum(input_cache_write_1h) AS input_cache_write_1h, sum(output) AS output, sum(output_reasoning) AS output_reasoning,"
        " sum(input_audio) AS input_audio, sum(output_audio) AS output_audio FROM correction_row GROUP BY request) AS c ON c.request = r.id"
        " WHERE r.started_us >= ?1 AND r.started_us < ?2 AND r.state = 1 ORDER BY r.id";
    sqlite3_stmt *s = NULL;
    sqlite3 *db = ctl_ledger_open(p);

    if (db == NULL)
        return false;
    int rc = sqlite3_prepare_v2(db, "SELECT 1 FROM price_version WHERE hash = ?1", -1, &s, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_text(s, 1, price_table_hash(r->prices), -1, SQLITE_STATIC);
        *known_version = sqlite3_step(s) == SQLITE_ROW;
        sqlite3_finalize(s);
        rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    }
    if (rc == SQLITE_OK) {
        sqlite3_bind_int64(s, 1, period->start_s * 1000000);
        sqlite3_bind_int64(s, 2, period->end_s * 1000000);
        while ((rc = sqlite3_step(s)) == SQLITE_ROW)
            if (!reprice_row(r, s)) {
                fprintf(stderr, "tollgatectl: out of memory\n");
                break;
            }
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        ctl_sql_failed(p, db);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return rc == SQLITE_DONE;
}

static bool show(const struct repricing *r, enum table_format format, bool dry_run)
{
    static const struct table_column columns[] = { { "provider", TABLE_TEXT, false }, { "model", TABLE_TEXT, false },
                                                   { "requests", TABLE_COUNT, true }, { "changed", TABLE_COUNT, true },
                                                   { "old_usd", TABLE_USD, true }, { "new_usd", TABLE_USD, true },
                                                   { "difference_usd", TABLE_USD, true } };
    struct table *t = table_new(columns, sizeof columns / sizeof *columns);
    char head[200];

    if (t == NULL)
        return false;
    for (size_t i = 0; i < r->group_count; i++) {
        const struct group *g = &r->groups[i];
        table_text(t, slice_cstr(g->provider));
        table_text(t, slice_cstr(g->model));
        table_int(t, g->requests);
        table_int(t, g->changed);
        table_int(t, g->old_nano);
        table_int(t, g->new_nano);
        table_int(t, g->new_nano - g->old_nano);
    }
    snprintf(head, sizeof head, "\"dry_run\":%s,\"prices\":\"%s\",\"bounded\":%" PRId64 ",\"unpriced\":%" PRId64 ",", dry_run ? "true" : "false",
             price_table_hash(r->prices), r->unknown, r->unpriced);
    bool ok = table_write(t, format, head, stdout) == 0;
    if (ok && format == FORMAT_TABLE && r->unknown + r->unpriced > 0)
        printf("left as they are: %" PRId64 " bounded (usage not known), %" PRId64 " without a price in the new table\n", r->unknown, r->unpriced);
    table_free(t);
    return ok;
}

static int reprice(const struct ctl_place *p, const struct period *period, const char *file, bool dry_run, enum table_format format)
{
    struct price_import_report report;
    char source[300];
    bool known_version = false;
    int rc = CTL_FAILED;

    struct price_table *prices = file != NULL ? ctl_prices_of_file(p, file, &report) : ctl_prices_in_force(p, source, sizeof source);
    struct repricing r = { .prices = prices };
    if (prices == NULL || !reprice_all(&r, p, period, &known_version))
        goto out;
    if (!dry_run && r.count > 0 && !known_version) {
        fprintf(stderr, "tollgatectl: the ledger does not know this price table (%.12s), so no row could name it: put it in force first "
                        "(prices.file, tollgatectl reload), or look at the result with --dry-run\n", price_table_hash(prices));
        goto out;
    }
    if (!dry_run && r.count > 0 && !ctl_book_repriced(p, r.corrections, r.count))
        goto out;
    if (!show(&r, format, dry_run))
        goto out;
    if (format == FORMAT_TABLE)
        printf(dry_run ? "dry run: nothing booked; %zu corrections would be\n" : "%zu corrections booked\n", r.count);
    rc = CTL_DONE;
out:
    for (size_t i = 0; i < r.group_count; i++) {
        free(r.groups[i].provider);
        free(r.groups[i].model);
    }
    free(r.groups);
    free(r.corrections);
    price_table_unref(prices);
    return rc;
}

int ctl_reprice(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *from = NULL, *to = NULL, *file = NULL, *format = NULL;
    bool json = false, help = false, dry_run = false;
    const struct ctl_arg args[] = { { "--ledger", &p.ledger, NULL }, { "--config", &p.config_file, NULL }, { "--socket", &p.socket, NULL },
                                    { "--from", &from, NULL }, { "--to", &to, NULL }, { "--prices", &file, NULL },
                                    { "--format", &format, NULL }, { "--json", NULL, &json }, { "--dry-run", NULL, &dry_run },
                                    { "--help", NULL, &help } };
    enum table_format f;
    struct period period;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, NULL, 0, &n))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "reprice");
    if (!ctl_format(format, json, &f) || !ctl_period(from, to, &period))
        return CTL_USAGE;
    int rc = ctl_place_find(&p) ? reprice(&p, &period, file, dry_run, f) : CTL_FAILED;
    config_free(p.config);
    return rc;
}
