#include "price/build.h"
#include "price/json.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- building ---------------------------------------------------------------------------------------------------- */

struct price_builder *price_builder_new(void)
{
    struct price_builder *b = calloc(1, sizeof *b);
    if (b && !(b->arena = arena_new(65536))) {
        free(b);
        return NULL;
    }
    return b;
}

void price_builder_free(struct price_builder *b)
{
    if (!b)
        return;
    arena_free(b->arena);
    free(b->list.items);
    free(b->contracts.items);
    free(b);
}

static int compare_slices(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare_names(const struct model_price *a, const struct model_price *b)
{
    int c = compare_slices(a->provider, b->provider);
    return c ? c : compare_slices(a->model, b->model);
}

struct ordered {
    const struct model_price *m;
    size_t sequence;
};

static int compare_ordered(const void *x, const void *y)
{
    const struct ordered *a = x, *b = y;
    int c = compare_names(a->m, b->m);
    return c ? c : (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

static struct ordered *sorted(const struct price_list *list)
{
    struct ordered *o = malloc((list->count ? list->count : 1) * sizeof *o);
    for (size_t i = 0; o && i < list->count; i++)
        o[i] = (struct ordered){ .m = &list->items[i], .sequence = i };
    if (o)
        qsort(o, list->count, sizeof *o, compare_ordered);
    return o;
}

static bool valid_rates(const struct price_rates *r)
{
    for (int k = 0; k < PRICE_KINDS; k++)
        if (r->pico[k] < 0 || r->pico[k] > PRICE_PICO_MAX)
            return false;
    return true;
}

bool price_valid(const struct model_price *m)
{
    bool ok = m->tier_count <= PRICE_TIERS && valid_rates(&m->base) && m->request_pico >= 0 && m->request_pico <= PRICE_REQUEST_MAX &&
              m->image_pico >= 0 && m->image_pico <= PRICE_REQUEST_MAX && m->image_out_pico >= 0 && m->image_out_pico <= PRICE_REQUEST_MAX &&
              m->image_token_pico >= 0 && m->image_token_pico <= PRICE_PICO_MAX;
    for (unsigned i = 0; ok && i < m->tier_count; i++)
        ok = valid_rates(&m->tiers[i].rates) && m->tiers[i].above > (i ? m->tiers[i - 1].above : 0);
    return ok && m->status <= PRICE_OK;
}

int price_builder_add(struct price_builder *b, const struct model_price *m)
{
    struct model_price copy = *m;
    if (!price_valid(m))
        return PRICE_ERANGE;
    copy.provider = arena_copy(b->arena, m->provider);
    copy.model = arena_copy(b->arena, m->model);
    if ((m->provider.n && !copy.provider.p) || (m->model.n && !copy.model.p) || !price_list_add(&b->list, &copy))
        return PRICE_EMEMORY;
    return PRICE_DONE;
}

static bool dearer(const struct model_price *a, const struct model_price *b)
{
    int64_t x = a->base.pico[PRICE_OUTPUT] - b->base.pico[PRICE_OUTPUT];
    return x ? x > 0 : a->base.pico[PRICE_INPUT] > b->base.pico[PRICE_INPUT];
}

/* Takes over what one catalogue brought; of two entries with one name the dearer. */
static int merge(struct price_builder *b, const struct price_list *list, struct price_import_report *report)
{
    struct ordered *o = sorted(list);
    size_t before = b->list.count;
    int rc = o ? PRICE_DONE : PRICE_EMEMORY;
    for (size_t i = 0; rc == PRICE_DONE && i < list->count; i++) {
        const struct model_price *best = o[i].m;
        for (; i + 1 < list->count && compare_names(o[i + 1].m, best) == 0; i++) {
            report->duplicates++;
            if (dearer(o[i + 1].m, best))
                best = o[i + 1].m;
        }
        report->priced += best->status == PRICE_OK;
        report->half += best->status == PRICE_HALF;
        report->zero += best->status == PRICE_ZERO;
        report->none += best->status == PRICE_NONE;
        rc = price_builder_add(b, best);
    }
    if (rc != PRICE_DONE)
        b->list.count = before;
    free(o);
    return rc;
}

/* A list of models by key "models", or an object by model. */
static bool is_models_dev(struct slice json, struct arena *arena)
{
    struct json_cursor c;
    struct slice key;
    bool first = true;
    json_init(&c, json, arena);
    if (json_peek(&c) != JSON_OBJECT || !json_enter(&c, JSON_OBJECT))
        return false;
    while (json_next_key(&c, &first, &key)) {
        if (slice_eq_cstr(key, "models"))
            return json_peek(&c) == JSON_ARRAY;
        if (!json_skip(&c))
            return false;
    }
    return false;
}

int price_import_json(struct price_builder *b, struct slice json, struct price_import_report *report, char *why, size_t why_size)
{
    struct price_import_report ignored;
    struct price_list list = { NULL, 0, 0 };
    struct json_cursor c;
    struct arena *arena = arena_new(16384);
    int rc = PRICE_EMEMORY;
    report = report ? report : &ignored;
    *report = (struct price_import_report){ .format = "" };
    if (arena) {
        bool dev = is_models_dev(json, arena);
        json_init(&c, json, arena);
        bool ok = dev ? price_read_models_dev(&c, &list, report) : price_read_litellm(&c, &list, report);
        report->models = (unsigned)list.count;
        if (ok && list.count == 0)
            json_fail(&c, "no model in it: expected {\"models\":[...]} or LiteLLM's object by model");
        rc = c.error ? PRICE_ESYNTAX : ok ? merge(b, &list, report) : PRICE_EMEMORY;
        if (c.error)
            snprintf(why, why_size, "price catalogue: line %u: %s", json_line(&c), c.error);
    }
    if (rc == PRICE_EMEMORY)
        snprintf(why, why_size, "price catalogue: out of memory");
    else if (rc == PRICE_ERANGE)
        snprintf(why, why_size, "price catalogue: a figure is out of range");
    arena_free(arena);
    free(list.items);
    return rc;
}

static const struct model_price *find_last(const struct price_list *list, struct slice provider, struct slice model)
{
    for (size_t i = list->count; i > 0; i--)
        if (slice_eq(list->items[i - 1].provider, provider) && slice_eq(list->items[i - 1].model, model))
            return &list->items[i - 1];
    return NULL;
}

/* What the catalogue published, as if read again. */
static void raw_of(const struct model_price *m, struct price_raw *raw)
{
    for (int k = 0; k < PRICE_KINDS; k++)
        raw->pico[k] = m->published & 1u << k ? m->base.pico[k] : -1;
    raw->request_pico = m->request_pico;
    raw->image_pico = m->image_pico;
    raw->image_out_pico = m->published & PRICE_SAYS_IMAGE_OUT ? m->image_out_pico : -1;
    raw->image_token_pico = m->published & PRICE_SAYS_IMAGE_TOKEN ? m->image_token_pico : -1;
    raw->context = m->context;
    raw->input_limit = m->input_limit;
    raw->output_limit = m->output_limit;
    raw->lacks = m->lacks;
}

/* `unit` says what the figure is and how large it may be. Not given: left as it is. */
static bool figure_read(struct slice usd, int scale, int64_t max, const char *unit, struct slice model, int64_t *pico, char *why, size_t why_size)
{
    if (usd.n == 0 || (price_parse_decimal(usd, scale, pico, NULL) == PRICE_DONE && *pico <= max))
        return true;
    snprintf(why, why_size, "price of %.*s: '%.*s' must be USD per %s", SLICE_FMT(model), SLICE_FMT(usd), unit);
    return false;
}

/* The rates that are given; their bits are added to `believed`. */
static bool rates_read(const struct slice usd[PRICE_KINDS], struct slice model, int64_t pico[PRICE_KINDS], unsigned *believed, char *why,
                       size_t why_size)
{
    for (int k = 0; k < PRICE_KINDS; k++) {
        if (usd[k].n == 0)
            continue;
        if (!figure_read(usd[k], 6, PRICE_PICO_MAX, "million tokens, 0 to 100000, like 2.50", model, &pico[k], why, why_size))
            return false;
        *believed |= 1u << k;
    }
    return true;
}

static bool tiers_read(const struct price_override *o, struct price_raw *raw, char *why, size_t why_size)
{
    raw->tier_count = 0;
    if (o->tier_count > PRICE_TIERS) {
        snprintf(why, why_size, "price of %.*s: more than %d tiers", SLICE_FMT(o->model), PRICE_TIERS);
        return false;
    }
    for (size_t i = 0; i < o->tier_count; i++) {
        const struct price_override_tier *from = &o->tiers[i];
        struct price_raw_tier *t = from->above > 0 ? price_raw_tier(raw, from->above) : NULL;
        if (t == NULL || raw->tier_count != i + 1) {
            snprintf(why, why_size, "price of %.*s: \"above\" of a tier must be a number of input tokens, in each another one", SLICE_FMT(o->model));
            return false;
        }
        if (!rates_read(from->usd_per_million, o->model, t->pico, &t->believed, why, why_size))
            return false;
        if (t->believed == 0) {
            snprintf(why, why_size, "price of %.*s: the tier above %lld names no rate", SLICE_FMT(o->model), (long long)from->above);
            return false;
        }
    }
    return true;
}

static bool override_rates(const struct price_override *o, struct price_raw *raw, char *why, size_t why_size)
{
    static const char image[] = "image, 0 to 1000";

    return rates_read(o->usd_per_million, o->model, raw->pico, &raw->believed, why, why_size) &&
           figure_read(o->usd_per_request, 12, PRICE_REQUEST_MAX, "request, 0 to 1000", o->model, &raw->request_pico, why, why_size) &&
           figure_read(o->usd_per_image, 12, PRICE_REQUEST_MAX, image, o->model, &raw->image_pico, why, why_size) &&
           figure_read(o->usd_per_image_out, 12, PRICE_REQUEST_MAX, image, o->model, &raw->image_out_pico, why, why_size) &&
           figure_read(o->usd_per_million_image_tokens, 6, PRICE_PICO_MAX, "million tokens of images, 0 to 100000, like 30", o->model,
                       &raw->image_token_pico, why, why_size) &&
           tiers_read(o, raw, why, why_size);
}

int price_override_resolve(const struct price_builder *b, const struct price_override *o, struct model_price *m, char *why, size_t why_size)
{
    const struct model_price *old = find_last(&b->list, o->provider, o->model);
    const unsigned main_kinds = 1u << PRICE_INPUT | 1u << PRICE_OUTPUT;
    struct price_raw raw;
    price_raw_init(&raw);
    if (old)
        raw_of(old, &raw);
    if (!override_rates(o, &raw, why, why_size))
        return PRICE_EVALUE;
    raw.provider = o->provider;
    raw.model = o->model;
    raw.no_output = price_is_outputless(o->model);
    raw.context = o->context ? o->context : raw.context;
    raw.output_limit = o->output_limit ? o->output_limit : raw.output_limit;
    if (raw.pico[PRICE_INPUT] < 0 || (raw.pico[PRICE_OUTPUT] < 0 && !raw.no_output)) {
        snprintf(why, why_size, "price of %.*s at %.*s: the catalogue has none, so both input and output are needed", SLICE_FMT(o->model),
                 SLICE_FMT(o->provider));
        return PRICE_EVALUE;
    }
    price_resolve(&raw, m);
    if (old && !(raw.believed & main_kinds)) {
        if (o->tier_count == 0) {
            m->tier_count = old->tier_count;
            memcpy(m->tiers, old->tiers, sizeof m->tiers);
        }
        m->status = old->status;
    }
    m->overridden = true;
    return PRICE_DONE;
}

int price_builder_override(struct price_builder *b, const struct price_override *o, char *why, size_t why_size)
{
    struct model_price m;
    int rc = price_override_resolve(b, o, &m, why, why_size);
    return rc == PRICE_DONE ? price_builder_add(b, &m) : rc;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void hash_rates(EVP_MD_CTX *md, const struct price_rates *r)
{
    char line[PRICE_KINDS * 21 + 2];
    size_t n = 0;
    for (int k = 0; k < PRICE_KINDS; k++)
        n += (size_t)snprintf(line + n, sizeof line - n, " %lld", (long long)r->pico[k]);
    EVP_DigestUpdate(md, line, n);
}

static void hash_model(EVP_MD_CTX *md, const struct model_price *m)
{
    char line[256];
    int n = snprintf(line, sizeof line, "%zu:", m->provider.n);
    EVP_DigestUpdate(md, line, (size_t)n);
    EVP_DigestUpdate(md, m->provider.p, m->provider.n);
    n = snprintf(line, sizeof line, " %zu:", m->model.n);
    EVP_DigestUpdate(md, line, (size_t)n);
    EVP_DigestUpdate(md, m->model.p, m->model.n);
    n = snprintf(line, sizeof line, " %d %d %u %lld %lld %lld %lld", (int)m->status, m->overridden, m->published, (long long)m->request_pico,
                 (long long)m->context, (long long)m->input_limit, (long long)m->output_limit);
    EVP_DigestUpdate(md, line, (size_t)n);
    if (m->image_pico > 0) { /* nothing where there is none: older versions keep their names */
        n = snprintf(line, sizeof line, " image %lld", (long long)m->image_pico);
        EVP_DigestUpdate(md, line, (size_t)n);
    }
    if (m->image_out_pico > 0 || m->image_token_pico > 0) {
        n = snprintf(line, sizeof line, " image out %lld %lld", (long long)m->image_out_pico, (long long)m->image_token_pico);
        EVP_DigestUpdate(md, line, (size_t)n);
    }
    hash_rates(md, &m->base);
    for (unsigned i = 0; i < m->tier_count; i++) {
        n = snprintf(line, sizeof line, " above %lld", (long long)m->tiers[i].above);
        EVP_DigestUpdate(md, line, (size_t)n);
        hash_rates(md, &m->tiers[i].rates);
    }
    EVP_DigestUpdate(md, "\n", 1);
}

static void hash_contract(EVP_MD_CTX *md, const struct price_contract *c)
{
    char line[64];
    int n = snprintf(line, sizeof line, "contract %zu:", c->name.n);
    EVP_DigestUpdate(md, line, (size_t)n);
    EVP_DigestUpdate(md, c->name.p, c->name.n);
    EVP_DigestUpdate(md, " ", 1);
    EVP_DigestUpdate(md, c->terms.p, c->terms.n);
    EVP_DigestUpdate(md, "\n", 1);
}

static bool hash_table(struct price_table *t)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; ok && i < t->count; i++)
        hash_model(md, &t->models[i]);
    for (size_t i = 0; ok && i < t->contracts.count; i++)
        hash_contract(md, &t->contracts.items[i]);
    ok = ok && EVP_DigestFinal_ex(md, digest, NULL) == 1;
    EVP_MD_CTX_free(md);
    for (int i = 0; ok && i < 32; i++) {
        snprintf(t->hash + 2 * i, 3, "%02x", digest[i]);
        if (i < 6)
            t->id = t->id << 8 | digest[i];
    }
    return ok;
}

struct price_table *price_builder_finish(struct price_builder *b)
{
    struct price_table *t = calloc(1, sizeof *t);
    struct ordered *o = sorted(&b->list);
    struct arena *fresh = arena_new(65536);
    struct model_price *models = malloc((b->list.count ? b->list.count : 1) * sizeof *models);
    if (t && o && fresh && models) {
        for (size_t i = 0; i < b->list.count; i++)
            if (i + 1 == b->list.count || compare_names(o[i].m, o[i + 1].m) != 0)
                models[t->count++] = *o[i].m;
        t->models = models;
        t->contracts = b->contracts;
    }
    free(o);
    if (!t || !t->models || !hash_table(t)) {
        free(models);
        arena_free(fresh);
        free(t);
        return NULL;
    }
    atomic_init(&t->references, 1);
    t->arena = b->arena; /* the names live in it */
    b->arena = fresh;
    b->list.count = 0;
    b->contracts = (struct price_contracts){ NULL, 0 };
    return t;
}

struct price_table *price_table_ref(struct price_table *t)
{
    atomic_fetch_add(&t->references, 1);
    return t;
}

void price_table_unref(struct price_table *t)
{
    if (!t || atomic_fetch_sub(&t->references, 1) != 1)
        return;
    arena_free(t->arena);
    free(t->models);
    free(t->contracts.items);
    free(t);
}

const char *price_table_hash(const struct price_table *t)
{
    return t->hash;
}

int64_t price_table_id(const struct price_table *t)
{
    return t->id;
}

size_t price_table_count(const struct price_table *t)
{
    return t->count;
}

const struct model_price *price_table_at(const struct price_table *t, size_t i)
{
    return &t->models[i];
}

/* ---- looking up -------------------------------------------------------------------------------------------------- */

static const struct model_price *find(const struct price_table *t, struct slice provider, struct slice model)
{
    const struct model_price key = { .provider = provider, .model = model };
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = compare_names(&t->models[middle], &key);
        if (c == 0)
            return &t->models[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Does `s` end like `pattern` ('d' a digit, the rest itself), with something before it? */
static bool ends_like(struct slice s, const char *pattern)
{
    size_t n = strlen(pattern);
    if (s.n <= n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char ch = s.p[s.n - n + i];
        if (pattern[i] == 'd' ? ch < '0' || ch > '9' : ch != pattern[i])
            return false;
    }
    return true;
}

const struct model_price *price_lookup(const struct price_table *t, struct slice provider, struct slice model, enum price_match *match)
{
    static const char *const dates[] = { "-dddd-dd-dd", "-dddddddd", "@dddddddd" };
    enum price_match ignored;
    match = match ? match : &ignored;
    const struct model_price *m = find(t, provider, model);
    *match = m ? PRICE_MATCH_EXACT : PRICE_MATCH_NONE;
    for (size_t i = 0; !m && i < sizeof dates / sizeof *dates; i++)
        if (ends_like(model, dates[i])) {
            m = find(t, provider, slice_make(model.p, model.n - strlen(dates[i])));
            *match = m ? PRICE_MATCH_SNAPSHOT : PRICE_MATCH_NONE;
            break;
        }
    return m;
}

static bool same(const struct model_price *a, const struct model_price *b)
{
    bool equal = a->status == b->status && a->overridden == b->overridden && a->published == b->published &&
                 a->request_pico == b->request_pico && a->image_pico == b->image_pico && a->image_out_pico == b->image_out_pico && a->image_token_pico == b->image_token_pico && a->context == b->context && a->input_limit == b->input_limit &&
                 a->output_limit == b->output_limit && a->tier_count == b->tier_count &&
                 memcmp(&a->base, &b->base, sizeof a->base) == 0;
    for (unsigned i = 0; equal && i < a->tier_count; i++)
        equal = a->tiers[i].above == b->tiers[i].above && memcmp(&a->tiers[i].rates, &b->tiers[i].rates, sizeof a->tiers[i].rates) == 0;
    return equal;
}

void price_table_diff(const struct price_table *before, const struct price_table *after, price_diff_fn *fn, void *user)
{
    size_t i = 0, j = 0;
    while (i < before->count || j < after->count) {
        int c = i == before->count ? 1 : j == after->count ? -1 : compare_names(&before->models[i], &after->models[j]);
        const struct model_price *old = c <= 0 ? &before->models[i++] : NULL, *now = c >= 0 ? &after->models[j++] : NULL;
        if (!old)
            fn(user, PRICE_ADDED, NULL, now);
        else if (!now)
            fn(user, PRICE_REMOVED, old, NULL);
        else if (!same(old, now))
            fn(user, PRICE_CHANGED, old, now);
    }
}

extern const unsigned char price_catalogue[];
extern const unsigned long price_catalogue_size;

struct slice price_builtin_json(void)
{
    return slice_make((const char *)price_catalogue, price_catalogue_size);
}
