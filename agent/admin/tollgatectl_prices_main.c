#include "admin/tollgatectl_prices.h"

#include "base/clock.h"
#include "config/config.h"
#include "config/config_map.h"
#include "config/config_prices.h"
#include "ledger/read.h"
#include "prices.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kind_names[PRICE_KINDS] = { "input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning",
                                                     "audio_input", "audio_output" };

/* Looks at the catalogue itself, for its errors (with lines) and what was in it. */
static bool catalogue_check(const char *file, struct price_import_report *report)
{
    char why[400] = "";
    size_t n;
    char *text = config_prices_catalogue(file, &n, why, sizeof why);
    struct price_builder *b = price_builder_new();
    bool ok = false;

    if (text == NULL)
        fprintf(stderr, "tollgatectl: %s\n", why);
    else if (b == NULL)
        fprintf(stderr, "tollgatectl: out of memory\n");
    else if (price_import_json(b, slice_make(text, n), report, why, sizeof why) != PRICE_DONE)
        fprintf(stderr, "tollgatectl: %s: %s\n", file, why);
    else
        ok = true;
    price_builder_free(b);
    free(text);
    return ok;
}

struct price_table *ctl_prices_of_file(const struct ctl_place *p, const char *file, struct price_import_report *report)
{
    struct config c = { .log_level = NULL };
    char why[512] = "";

    if (!catalogue_check(file, report))
        return NULL;
    if (p->config != NULL)
        c.prices = p->config->prices;
    c.prices.file = (char *)file;
    struct price_table *t = config_prices(&c, why, sizeof why);
    if (t == NULL)
        fprintf(stderr, "tollgatectl: %s\n", why);
    return t;
}

struct active {
    int64_t id;
    char source[200];
};

static bool note_active(void *user, const struct ledger_price_version *v)
{
    struct active *a = user;

    if (v->active) {
        a->id = v->id;
        snprintf(a->source, sizeof a->source, "%.*s", SLICE_FMT(v->source));
    }
    return true;
}

/* NULL without a word when the ledger has no price table yet. */
static struct price_table *prices_of_ledger(const struct ctl_place *p, char *source, size_t size, bool *failed)
{
    struct active a = { .id = 0 };
    struct price_table *t = NULL;
    char why[400];
    struct ledger_reader *r = ledger_reader_open(p->file, why, sizeof why);

    *failed = r == NULL;
    if (r == NULL) {
        fprintf(stderr, "tollgatectl: %s\n", why);
    } else if (ledger_read_price_versions(r, note_active, &a) != 0 || (a.id != 0 && (t = prices_read(r, a.id)) == NULL)) {
        fprintf(stderr, "tollgatectl: ledger %s: cannot read its price table: %s\n", p->file, ledger_reader_error(r));
        *failed = true;
    } else if (a.id != 0) {
        snprintf(source, size, "ledger %s, from %s", p->file, a.source);
    }
    ledger_reader_close(r);
    return t;
}

struct price_table *ctl_prices_in_force(const struct ctl_place *p, char *source, size_t size)
{
    static const struct config none;
    char why[512] = "";
    bool failed = false;

    if (p->ledger != NULL || access(p->file, F_OK) == 0) {
        struct price_table *t = prices_of_ledger(p, source, size, &failed);
        if (t != NULL || failed)
            return t;
    }
    unsigned count = 0;
    struct price_table *t = NULL;
    struct config_price_step *steps = config_price_steps(p->config != NULL ? p->config : &none, &count, why, sizeof why);
    if (steps == NULL) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        return NULL;
    }
    const struct config_price_step *now = config_price_step_at(steps, count, clock_wall_us());
    t = price_table_ref(now->table);
    snprintf(source, size, "%s", p->config == NULL ? "built-in table" : now->file != NULL ? now->file : "built-in table with the configuration's overrides");
    config_price_steps_free(steps, count);
    return t;
}

/* ---- import ------------------------------------------------------------------------------------------------------ */

struct diff {
    struct table *t;
    unsigned added, removed, changed;
};

static void add_line(struct diff *d, const char *change, const struct model_price *m, const char *what, bool has_old, int64_t old,
                     bool has_new, int64_t new)
{
    table_text(d->t, slice_cstr(change));
    table_text(d->t, m->provider);
    table_text(d->t, m->model);
    table_text(d->t, slice_cstr(what));
    if (has_old)
        table_int(d->t, old);
    else
        table_null(d->t);
    if (has_new)
        table_int(d->t, new);
    else
        table_null(d->t);
}

/* Rates of one tier that differ; a model that only exists on one side shows what it has published. */
static void diff_rates(struct diff *d, const char *change, const struct model_price *b, const struct model_price *a, const struct price_rates *before,
                       const struct price_rates *after, int64_t above)
{
    const struct model_price *m = a != NULL ? a : b;
    char what[48];

    for (int k = 0; k < PRICE_KINDS; k++) {
        bool shown = before != NULL && after != NULL ? before->pico[k] != after->pico[k] : (m->published >> k & 1u) != 0;
        if (!shown)
            continue;
        if (above > 0)
            snprintf(what, sizeof what, "%s above %" PRId64, kind_names[k], above);
        else
            snprintf(what, sizeof what, "%s", kind_names[k]);
        add_line(d, change, m, what, before != NULL, before != NULL ? before->pico[k] : 0, after != NULL, after != NULL ? after->pico[k] : 0);
    }
}

static const struct price_rates *tier_at(const struct model_price *m, int64_t above)
{
    for (unsigned i = 0; i < m->tier_count; i++)
        if (m->tiers[i].above == above)
            return &m->tiers[i].rates;
    return NULL;
}

static void diff_tiers(struct diff *d, const struct model_price *b, const struct model_price *a)
{
    for (unsigned i = 0; i < b->tier_count; i++)
        diff_rates(d, "changed", b, a, &b->tiers[i].rates, tier_at(a, b->tiers[i].above), b->tiers[i].above);
    for (unsigned i = 0; i < a->tier_count; i++)
        if (tier_at(b, a->tiers[i].above) == NULL)
            diff_rates(d, "changed", b, a, NULL, &a->tiers[i].rates, a->tiers[i].above);
}

static void on_diff(void *user, enum price_change change, const struct model_price *b, const struct model_price *a)
{
    struct diff *d = user;
    size_t rows = table_rows(d->t);
    static const char *const words[] = { "added", "removed", "changed" };

    d->added += change == PRICE_ADDED;
    d->removed += change == PRICE_REMOVED;
    d->changed += change == PRICE_CHANGED;
    diff_rates(d, words[change], b, a, b != NULL ? &b->base : NULL, a != NULL ? &a->base : NULL, 0);
    if (change == PRICE_CHANGED) {
        if (b->request_pico != a->request_pico)
            add_line(d, "changed", a, "per million requests", true, b->request_pico, true, a->request_pico);
        if (b->image_pico != a->image_pico)
            add_line(d, "changed", a, "per million images", true, b->image_pico, true, a->image_pico);
        if (b->image_out_pico != a->image_out_pico)
            add_line(d, "changed", a, "per million images answered", true, b->image_out_pico, true, a->image_out_pico);
        if (b->image_token_pico != a->image_token_pico)
            add_line(d, "changed", a, "tokens of images answered", true, b->image_token_pico, true, a->image_token_pico);
        diff_tiers(d, b, a);
    }
    if (table_rows(d->t) == rows) /* limits, status, or what follows from rules */
        add_line(d, words[change], a != NULL ? a : b, "no rate", false, 0, false, 0);
}

static void say_how(const struct ctl_place *p, const char *file)
{
    char *path = realpath(file, NULL);

    printf("\nTo put it in force: set prices.file: %s in %s, or name it under prices.scheduled with the instant it is valid from; then: "
           "tollgatectl reload --socket %s\n", path != NULL ? path : file,
           p->config_file != NULL ? p->config_file : "the agent's configuration", p->admin);
    free(path);
}

static int prices_import(const struct ctl_place *p, const char *file, bool dry_run, enum table_format format)
{
    static const struct table_column columns[] = { { "change", TABLE_TEXT, false }, { "provider", TABLE_TEXT, false },
                                                   { "model", TABLE_TEXT, false }, { "rate", TABLE_TEXT, false },
                                                   { "old_usd", TABLE_RATE, false }, { "new_usd", TABLE_RATE, false } };
    struct price_import_report report = { .models = 0 };
    char source[300], head[300];
    int rc = CTL_FAILED;

    struct diff d = { .t = table_new(columns, sizeof columns / sizeof *columns) };
    struct price_table *after = ctl_prices_of_file(p, file, &report), *before = NULL;
    if (after != NULL)
        before = ctl_prices_in_force(p, source, sizeof source);
    if (d.t == NULL || after == NULL || before == NULL)
        goto out;
    price_table_diff(before, after, on_diff, &d);
    snprintf(head, sizeof head, "\"in_force\":\"%s\",\"new\":\"%s\",\"added\":%u,\"removed\":%u,\"changed\":%u,", price_table_hash(before),
             price_table_hash(after), d.added, d.removed, d.changed);
    if (table_write(d.t, format, head, stdout) != 0)
        goto out;
    rc = CTL_DONE;
    if (format != FORMAT_TABLE)
        goto out;
    printf("\n%s (%s): %u models, %u priced, %u half priced, %u all zero, %u without a price, %u twice, %u figures rounded\n", file,
           report.format, report.models, report.priced, report.half, report.zero, report.none, report.duplicates, report.rounded);
    printf("in force %.12s: %s, %zu models\nnew      %.12s: %zu models\n%u added, %u removed, %u changed (USD per million tokens)\n",
           price_table_hash(before), source, price_table_count(before), price_table_hash(after), price_table_count(after), d.added, d.removed,
           d.changed);
    if (!dry_run)
        say_how(p, file);
out:
    price_table_unref(before);
    price_table_unref(after);
    table_free(d.t);
    return rc;
}

/* ---- list -------------------------------------------------------------------------------------------------------- */

static void list_add(struct table *t, const struct model_price *m, int64_t above, const struct price_rates *rates)
{
    static const char *const status[] = { "unpriced", "half priced", "zero", "priced" };
    static const enum price_kind shown[] = { PRICE_INPUT, PRICE_CACHED, PRICE_CACHE_WRITE, PRICE_OUTPUT, PRICE_REASONING };

    table_text(t, m->provider);
    table_text(t, m->model);
    table_int(t, above);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        table_int(t, rates->pico[shown[i]]);
    table_text(t, slice_cstr(status[m->status]));
    table_text(t, m->overridden ? SLICE_LIT("configuration") : SLICE_LIT("catalogue"));
}

static int prices_list(const struct ctl_place *p, const char *model, enum table_format format)
{
    static const struct table_column columns[] = {
        { "provider", TABLE_TEXT, false }, { "model", TABLE_TEXT, false }, { "above_tokens", TABLE_COUNT, false }, { "input_usd", TABLE_RATE, false },
        { "cached_input_usd", TABLE_RATE, false }, { "cache_write_usd", TABLE_RATE, false }, { "output_usd", TABLE_RATE, false },
        { "reasoning_usd", TABLE_RATE, false }, { "status", TABLE_TEXT, false }, { "source", TABLE_TEXT, false },
    };
    char source[300], head[128];
    struct price_table *prices = ctl_prices_in_force(p, source, sizeof source);
    struct table *t = table_new(columns, sizeof columns / sizeof *columns);
    int rc = CTL_FAILED;

    if (prices == NULL || t == NULL)
        goto out;
    for (size_t i = 0; i < price_table_count(prices); i++) {
        const struct model_price *m = price_table_at(prices, i);
        if (model != NULL && memmem(m->model.p, m->model.n, model, strlen(model)) == NULL)
            continue;
        list_add(t, m, 0, &m->base);
        for (unsigned k = 0; k < m->tier_count; k++)
            list_add(t, m, m->tiers[k].above, &m->tiers[k].rates);
    }
    if (model != NULL && table_rows(t) == 0) {
        fprintf(stderr, "tollgatectl: no model of the table in force (%s) has \"%s\" in its name\n", source, model);
        goto out;
    }
    snprintf(head, sizeof head, "\"version\":\"%s\",", price_table_hash(prices));
    if (table_write(t, format, head, stdout) != 0)
        goto out;
    if (format == FORMAT_TABLE)
        printf("\nversion %.12s: %s (USD per million tokens)\n", price_table_hash(prices), source);
    rc = CTL_DONE;
out:
    table_free(t);
    price_table_unref(prices);
    return rc;
}

int ctl_prices(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[2] = { NULL, NULL }, *format = NULL;
    bool json = false, help = false, dry_run = false;
    const struct ctl_arg args[] = { { "--ledger", &p.ledger, NULL }, { "--config", &p.config_file, NULL }, { "--socket", &p.socket, NULL },
                                    { "--format", &format, NULL }, { "--json", NULL, &json }, { "--dry-run", NULL, &dry_run },
                                    { "--help", NULL, &help } };
    enum table_format f;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 2, &n) || !ctl_format(format, json, &f))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "prices");
    bool import = n == 2 && strcmp(words[0], "import") == 0, list = n > 0 && strcmp(words[0], "list") == 0;
    if (!import && !list)
        return ctl_help(stderr, "prices");
    int rc = CTL_FAILED;
    if (ctl_place_find(&p))
        rc = import ? prices_import(&p, words[1], dry_run, f) : prices_list(&p, words[1], f);
    config_free(p.config);
    return rc;
}
