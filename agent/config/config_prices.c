#include "config/config_prices.h"

#include "base/file_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CATALOGUE_MAX = 64 << 20 };

static void *grab(struct arena *a, size_t count, size_t size)
{
    void *p = arena_zalloc(a, count * size + 1);
    if (p == NULL)
        abort();
    return p;
}

static struct slice *slices_of(char **texts, unsigned count, struct arena *a)
{
    struct slice *out = grab(a, count, sizeof *out);

    for (unsigned i = 0; i < count; i++)
        out[i] = slice_cstr(texts[i]);
    return out;
}

static void rates_of(const struct config_rates *r, struct slice out[PRICE_KINDS])
{
    out[PRICE_INPUT] = slice_cstr(r->input);
    out[PRICE_OUTPUT] = slice_cstr(r->output);
    out[PRICE_CACHED] = slice_cstr(r->cached_input);
    out[PRICE_CACHE_WRITE] = slice_cstr(r->cache_write);
    out[PRICE_CACHE_WRITE_1H] = slice_cstr(r->cache_write_1h);
    out[PRICE_REASONING] = slice_cstr(r->reasoning);
    out[PRICE_AUDIO_IN] = slice_cstr(r->audio_input);
    out[PRICE_AUDIO_OUT] = slice_cstr(r->audio_output);
}

static struct price_override override_of(const struct config_price *p, struct slice provider, struct slice model, struct arena *a)
{
    struct price_override_tier *tiers = grab(a, p->tiers_count, sizeof *tiers);
    struct price_override o = { .provider = provider, .model = model, .usd_per_request = slice_cstr(p->request),
                                .usd_per_image = slice_cstr(p->image), .usd_per_image_out = slice_cstr(p->image_output),
                                .usd_per_million_image_tokens = slice_cstr(p->image_output_tokens), .tiers = tiers, .tier_count = p->tiers_count };

    rates_of(&p->rates, o.usd_per_million);
    for (unsigned i = 0; i < p->tiers_count; i++) {
        tiers[i].above = p->tiers[i].above;
        rates_of(&p->tiers[i].rates, tiers[i].usd_per_million);
    }
    return o;
}

static bool override_add(struct price_builder *b, const struct config_price *p, char *why, size_t why_size)
{
    struct arena *a = arena_new(1024);
    if (a == NULL)
        abort();
    struct price_override o = override_of(p, slice_cstr(p->provider), slice_cstr(p->model), a);
    bool ok = price_builder_override(b, &o, why, why_size) == PRICE_DONE;
    arena_free(a);
    return ok;
}

static bool contract_add(struct price_builder *b, const struct config_contract *c, char *why, size_t why_size)
{
    struct arena *a = arena_new(1024);
    if (a == NULL)
        abort();
    struct price_contract_text t = {
        .name = slice_cstr(c->name), .discount = slice_cstr(c->discount),
        .organizations = { slices_of(c->organizations, c->organizations_count, a), c->organizations_count },
        .teams = { slices_of(c->teams, c->teams_count, a), c->teams_count },
        .providers = { slices_of(c->providers, c->providers_count, a), c->providers_count },
        .models = { slices_of(c->models, c->models_count, a), c->models_count },
    };
    struct price_override rates;
    if (c->rates != NULL) {
        rates = override_of(c->rates, t.providers.count > 0 ? t.providers.items[0] : SLICE_NONE,
                            t.models.count > 0 ? t.models.items[0] : SLICE_NONE, a);
        t.rates = &rates;
    }
    bool ok = price_builder_contract(b, &t, why, why_size) == PRICE_DONE;
    arena_free(a);
    return ok;
}

char *config_prices_catalogue(const char *file, size_t *n, char *why, size_t why_size)
{
    char fault[128] = "empty";
    char *text = file_read(file, CATALOGUE_MAX, n, NULL, fault, sizeof fault);

    if (text != NULL && *n > 0)
        return text;
    snprintf(why, why_size, "cannot read %s: %s", file, fault);
    free(text);
    return NULL;
}

static struct price_table *table_of(const struct config *c, const char *file, char *why, size_t why_size)
{
    struct price_import_report report;
    struct price_table *table = NULL;
    char *text = NULL, reason[256] = "";
    struct slice json = price_builtin_json();
    struct price_builder *b = price_builder_new();

    if (b == NULL) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    if (file != NULL) {
        size_t n = 0;
        text = config_prices_catalogue(file, &n, why, why_size);
        if (text == NULL)
            goto out;
        json = slice_make(text, n);
    }
    if (price_import_json(b, json, &report, reason, sizeof reason) != PRICE_DONE) {
        snprintf(why, why_size, "%s: %s", file != NULL ? file : "built-in prices", reason);
        goto out;
    }
    for (unsigned i = 0; i < c->prices.overrides_count; i++)
        if (!override_add(b, &c->prices.overrides[i], reason, sizeof reason)) {
            snprintf(why, why_size, "prices.overrides[%u]: %s", i, reason);
            goto out;
        }
    for (unsigned i = 0; i < c->prices.contracts_count; i++)
        if (!contract_add(b, &c->prices.contracts[i], reason, sizeof reason)) {
            snprintf(why, why_size, "prices.contracts[%u]: %s", i, reason);
            goto out;
        }
    table = price_builder_finish(b);
    if (table == NULL)
        snprintf(why, why_size, "out of memory");
out:
    free(text);
    price_builder_free(b);
    return table;
}

struct price_table *config_prices(const struct config *c, char *why, size_t why_size)
{
    return table_of(c, c->prices.file, why, why_size);
}

bool config_instant(const char *text, int64_t *us)
{
    static const char *const forms[] = { "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d" };

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = { 0 };
        const char *end = strptime(text, forms[i], &tm);
        time_t s = end != NULL && *end == '\0' ? timegm(&tm) : -1;
        if (s > 0) {
            *us = (int64_t)s * 1000000;
            return true;
        }
    }
    return false;
}

void config_price_steps_free(struct config_price_step *steps, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        price_table_unref(steps[i].table);
    free(steps);
}

const struct config_price_step *config_price_step_at(const struct config_price_step *steps, unsigned count, int64_t wall_us)
{
    const struct config_price_step *step = steps;

    for (unsigned i = 1; i < count && steps[i].from_us <= wall_us; i++)
        step = &steps[i];
    return step;
}

struct config_price_step *config_price_steps(const struct config *c, unsigned *count, char *why, size_t why_size)
{
    const struct config_prices *p = &c->prices;
    struct config_price_step *steps = calloc(p->scheduled_count + 1u, sizeof *steps);
    char reason[512];

    *count = 0;
    snprintf(why, why_size, "out of memory");
    if (steps == NULL)
        return NULL;
    steps[0] = (struct config_price_step){ .from_us = INT64_MIN, .file = p->file, .table = config_prices(c, why, why_size) };
    if (steps[0].table == NULL)
        goto fail;
    for (*count = 1; *count <= p->scheduled_count; ++*count) {
        const struct config_scheduled *s = &p->scheduled[*count - 1];
        struct config_price_step *step = &steps[*count];
        if (!config_instant(s->valid_from, &step->from_us)) {
            snprintf(why, why_size, "prices.scheduled[%u].valid_from: \"%s\" must be a day or an instant in UTC, like 2027-01-01 or "
                     "2027-01-01T06:00:00Z", *count - 1, s->valid_from);
            goto fail;
        }
        if (step->from_us <= step[-1].from_us) {
            snprintf(why, why_size, "prices.scheduled[%u].valid_from: must be later than the one before it", *count - 1);
            goto fail;
        }
        step->file = s->file;
        step->table = table_of(c, s->file, reason, sizeof reason);
        if (step->table == NULL) {
            snprintf(why, why_size, "prices.scheduled[%u]: %s", *count - 1, reason);
            goto fail;
        }
    }
    return steps;
fail:
    config_price_steps_free(steps, *count);
    return NULL;
}
