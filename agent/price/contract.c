#include "price/build.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

enum { DISCOUNT_ALL = 10000, CONTRACTS_MAX = 10000, SCOPES = 4, SCOPE_MAX = 10000 };

static const char *const scope_names[SCOPES] = { "organizations", "teams", "providers", "models" };

static struct price_scope *scope_at(struct price_contract *c, int i)
{
    struct price_scope *const all[SCOPES] = { &c->organizations, &c->teams, &c->providers, &c->models };
    return all[i];
}

/* ---- looking up -------------------------------------------------------------------------------------------------- */

static bool covers(const struct price_scope *s, struct slice value)
{
    for (size_t i = 0; i < s->count; i++)
        if (slice_eq(s->items[i], value))
            return true;
    return s->count == 0;
}

static bool covers_model(const struct price_scope *s, struct slice model)
{
    for (size_t i = 0; i < s->count; i++) {
        struct slice p = s->items[i];
        if (p.n > 0 && p.p[p.n - 1] == '*' ? model.n + 1 >= p.n && memcmp(model.p, p.p, p.n - 1) == 0 : slice_eq(p, model))
            return true;
    }
    return s->count == 0;
}

struct price_terms price_terms_for(const struct price_table *t, const struct model_price *list, const struct identity *who,
                                   struct slice provider, struct slice model)
{
    struct price_terms terms = { .list = list, .billed = list };

    for (size_t i = 0; i < t->contracts.count; i++) {
        const struct price_contract *c = &t->contracts.items[i];
        if (!covers(&c->organizations, who->organization) || !covers(&c->teams, who->team) || !covers(&c->providers, provider) ||
            !(covers_model(&c->models, model) || (list != NULL && covers_model(&c->models, list->model))))
            continue;
        terms.contract = c;
        terms.discount_bp = c->discount_bp;
        terms.billed = c->own != NULL ? c->own : list;
        break;
    }
    return terms;
}

size_t price_contract_count(const struct price_table *t)
{
    return t->contracts.count;
}

const struct price_contract *price_contract_at(const struct price_table *t, size_t i)
{
    return &t->contracts.items[i];
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

/* "ABOVE INPUT CACHED ...": figures are texts, for JSON's numbers are not integers everywhere. */
static bool put_rates(cJSON *array, int64_t above, const struct price_rates *r)
{
    char line[(PRICE_KINDS + 1) * 21];
    int n = snprintf(line, sizeof line, "%lld", (long long)above);

    for (int k = 0; k < PRICE_KINDS; k++)
        n += snprintf(line + n, sizeof line - (size_t)n, " %lld", (long long)r->pico[k]);
    cJSON *text = cJSON_CreateString(line);
    return text != NULL && cJSON_AddItemToArray(array, text);
}

static bool put_figure(cJSON *o, const char *name, int64_t n)
{
    char text[21];

    snprintf(text, sizeof text, "%lld", (long long)n);
    return cJSON_AddStringToObject(o, name, text) != NULL;
}

static bool put_own(cJSON *o, const struct model_price *m)
{
    cJSON *rates = cJSON_AddArrayToObject(o, "rates");
    bool ok = rates != NULL && put_rates(rates, 0, &m->base);

    for (unsigned i = 0; ok && i < m->tier_count; i++)
        ok = put_rates(rates, m->tiers[i].above, &m->tiers[i].rates);
    return ok && put_figure(o, "request", m->request_pico) && (m->image_pico == 0 || put_figure(o, "image", m->image_pico)) &&
           (m->image_out_pico == 0 || put_figure(o, "image_output", m->image_out_pico)) &&
           (m->image_token_pico == 0 || put_figure(o, "image_output_tokens", m->image_token_pico));
}

static bool put_scope(cJSON *o, const char *name, const struct price_scope *s, struct arena *a)
{
    cJSON *list = cJSON_AddArrayToObject(o, name);

    for (size_t i = 0; list != NULL && i < s->count; i++) {
        char *text = arena_cstr(a, s->items[i]);
        cJSON *item = text != NULL ? cJSON_CreateString(text) : NULL;
        if (item == NULL || !cJSON_AddItemToArray(list, item))
            return false;
    }
    return list != NULL;
}

/* False: memory is out. */
static bool terms_write(struct price_contract *c, struct arena *a)
{
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && cJSON_AddNumberToObject(o, "discount_bp", c->discount_bp) != NULL;

    for (int i = 0; ok && i < SCOPES; i++)
        ok = scope_at(c, i)->count == 0 || put_scope(o, scope_names[i], scope_at(c, i), a);
    ok = ok && (c->own == NULL || put_own(o, c->own));
    char *text = ok ? cJSON_PrintUnformatted(o) : NULL;
    c->terms = text != NULL ? arena_copy(a, slice_cstr(text)) : SLICE_NONE;
    cJSON_free(text);
    cJSON_Delete(o);
    return c->terms.n > 0;
}

static bool read_figures(const char *text, int64_t *out, int count)
{
    for (int i = 0; i < count; i++) {
        char *end;
        out[i] = strtoll(text, &end, 10);
        if (end == text || out[i] < 0 || *end != (i + 1 < count ? ' ' : '\0'))
            return false;
        text = end + 1;
    }
    return true;
}

/* Left at 0 when there is none. */
static bool read_figure(const cJSON *terms, const char *name, int64_t *out)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(terms, name));
    return text == NULL || read_figures(text, out, 1);
}

static bool read_own(const cJSON *terms, const cJSON *rates, struct model_price *m)
{
    const cJSON *line;
    unsigned n = 0;

    if (cJSON_GetObjectItemCaseSensitive(terms, "request") == NULL || !read_figure(terms, "request", &m->request_pico) ||
        !read_figure(terms, "image", &m->image_pico) || !read_figure(terms, "image_output", &m->image_out_pico) ||
        !read_figure(terms, "image_output_tokens", &m->image_token_pico))
        return false;
    cJSON_ArrayForEach(line, rates) {
        int64_t v[PRICE_KINDS + 1];
        const char *text = cJSON_GetStringValue(line);
        if (text == NULL || n > PRICE_TIERS || !read_figures(text, v, PRICE_KINDS + 1))
            return false;
        struct price_rates *r = n == 0 ? &m->base : &m->tiers[n - 1].rates;
        memcpy(r->pico, v + 1, sizeof r->pico);
        if (n > 0)
            m->tiers[n - 1].above = v[0];
        n++;
    }
    m->tier_count = n > 0 ? n - 1 : 0;
    return n > 0;
}

static bool read_scope(const cJSON *list, struct price_scope *out, struct arena *a)
{
    int n = cJSON_GetArraySize(list), i = 0;
    struct slice *items = n > 0 && n <= SCOPE_MAX ? arena_alloc(a, (size_t)n * sizeof *items) : NULL;
    const cJSON *item;

    if (list == NULL)
        return true;
    if (items == NULL)
        return false;
    cJSON_ArrayForEach(item, list) {
        const char *text = cJSON_GetStringValue(item);
        if (text == NULL)
            return false;
        items[i++] = slice_cstr(text);
    }
    *out = (struct price_scope){ items, (size_t)n };
    return true;
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool copy_scope(struct price_scope *s, struct arena *a)
{
    struct slice *items = s->count > 0 ? arena_alloc(a, s->count * sizeof *items) : NULL;

    if (s->count > 0 && items == NULL)
        return false;
    for (size_t i = 0; i < s->count; i++)
        items[i] = arena_copy(a, s->items[i]);
    s->items = items;
    return true;
}

/* Copies all that `c` points to. */
static int contract_put(struct price_builder *b, struct price_contract c)
{
    struct price_contract *more = realloc(b->contracts.items, (b->contracts.count + 1) * sizeof *more);
    bool ok = more != NULL;

    if (ok)
        b->contracts.items = more;
    for (int i = 0; ok && i < SCOPES; i++)
        ok = copy_scope(scope_at(&c, i), b->arena);
    if (ok && c.own != NULL) {
        struct model_price *own = arena_alloc(b->arena, sizeof *own);
        ok = own != NULL;
        if (ok) {
            *own = *c.own;
            own->provider = c.providers.items[0];
            own->model = c.models.items[0];
            c.own = own;
        }
    }
    c.name = arena_copy(b->arena, c.name);
    if (!ok || c.name.p == NULL || !terms_write(&c, b->arena))
        return PRICE_EMEMORY;
    b->contracts.items[b->contracts.count++] = c;
    return PRICE_DONE;
}

static bool one_model(const struct price_scope *providers, const struct price_scope *models)
{
    return providers->count == 1 && models->count == 1 && models->items[0].n > 0 && models->items[0].p[models->items[0].n - 1] != '*';
}

static const char *contract_wrong(const struct price_builder *b, const struct price_contract_text *c, int64_t *bp)
{
    bool rounded = false;

    *bp = 0;
    if (c->name.n == 0)
        return "name must not be empty";
    if (b->contracts.count == CONTRACTS_MAX)
        return "more than 10000 contracts";
    for (size_t i = 0; i < b->contracts.count; i++)
        if (slice_eq(b->contracts.items[i].name, c->name))
            return "another contract has this name already";
    if (c->discount.n == 0 && c->rates == NULL)
        return "needs a discount, rates of its own, or both";
    if (c->discount.n > 0 && (price_parse_decimal(c->discount, 2, bp, &rounded) != PRICE_DONE || rounded || *bp > DISCOUNT_ALL))
        return "discount must be percent, 0 to 100 in steps of 0.01, like 12.5";
    if (c->rates != NULL && !one_model(&c->providers, &c->models))
        return "rates of its own need exactly one provider and one model, without *";
    return NULL;
}

int price_builder_contract(struct price_builder *b, const struct price_contract_text *c, char *why, size_t why_size)
{
    struct price_contract contract = { .name = c->name, .organizations = c->organizations, .teams = c->teams, .providers = c->providers,
                                       .models = c->models };
    struct model_price own;
    int64_t bp;
    const char *wrong = contract_wrong(b, c, &bp);

    if (wrong != NULL) {
        snprintf(why, why_size, "%s", wrong);
        return PRICE_EVALUE;
    }
    contract.discount_bp = (int32_t)bp;
    if (c->rates != NULL) {
        int rc = price_override_resolve(b, c->rates, &own, why, why_size);
        if (rc != PRICE_DONE)
            return rc;
        if (own.status != PRICE_OK) {
            snprintf(why, why_size, "the catalogue's price of %.*s is not complete, so both input and output are needed",
                     SLICE_FMT(c->rates->model));
            return PRICE_EVALUE;
        }
        contract.own = &own;
    }
    int rc = contract_put(b, contract);
    if (rc != PRICE_DONE)
        snprintf(why, why_size, "out of memory");
    return rc;
}

int price_builder_contract_terms(struct price_builder *b, struct slice name, struct slice terms)
{
    struct price_contract c = { .name = name };
    struct model_price own = { .status = PRICE_OK, .overridden = true };
    cJSON *o = cJSON_ParseWithLength(terms.p, terms.n);
    const cJSON *bp = cJSON_GetObjectItemCaseSensitive(o, "discount_bp"), *rates = cJSON_GetObjectItemCaseSensitive(o, "rates");
    bool ok = cJSON_IsNumber(bp) && bp->valueint >= 0 && bp->valueint <= DISCOUNT_ALL && b->contracts.count < CONTRACTS_MAX;

    for (int i = 0; ok && i < SCOPES; i++)
        ok = read_scope(cJSON_GetObjectItemCaseSensitive(o, scope_names[i]), scope_at(&c, i), b->arena);
    if (ok && rates != NULL) {
        ok = one_model(&c.providers, &c.models) && read_own(o, rates, &own) && price_valid(&own);
        c.own = &own;
    }
    c.discount_bp = ok ? bp->valueint : 0;
    int rc = ok ? contract_put(b, c) : PRICE_ESYNTAX;
    cJSON_Delete(o);
    return rc;
}
