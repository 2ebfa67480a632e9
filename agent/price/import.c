/* The two catalogue formats. Unknown keys are skipped: both formats grow, and what is unknown cannot make a price cheaper, save for
 * the charges named below, which make a model half-priced. */
#include "price/build.h"
#include "price/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { USD_PER_MILLION = 6 }; /* USD per million tokens * 10^6 = pico-dollars per token */

bool price_list_add(struct price_list *list, const struct model_price *m)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 256;
        struct model_price *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return false;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *m;
    return true;
}

static bool contains(struct slice s, const char *word)
{
    return memmem(s.p, s.n, word, strlen(word)) != NULL;
}

bool price_is_outputless(struct slice model)
{
    return contains(model, "embed") || contains(model, "rerank");
}

bool price_read_rate(struct json_cursor *c, int scale, int64_t max, int64_t *pico, struct price_import_report *report)
{
    struct slice text;
    bool rounded = false;
    enum json_kind kind = json_peek(c);
    *pico = -1;
    if (kind == JSON_NULL)
        return json_skip(c);
    if (kind == JSON_STRING ? !json_string(c, &text) : !json_number(c, &text))
        return false;
    int rc = price_parse_decimal(text, scale, pico, &rounded);
    if (rc == PRICE_DONE && *pico > max)
        rc = PRICE_ERANGE;
    if (rc == PRICE_ESYNTAX)
        json_fail(c, "a price is not a decimal number");
    else if (rc == PRICE_ERANGE)
        json_fail(c, "a price is negative or beyond 100,000 USD per million tokens: is it in another unit?");
    report->rounded += rounded;
    return !c->error;
}

bool price_read_limit(struct json_cursor *c, int64_t *limit)
{
    struct slice text;
    int64_t v;
    if (json_peek(c) != JSON_NUMBER)
        return json_skip(c);
    if (!json_number(c, &text))
        return false;
    if (price_parse_decimal(text, 0, &v, NULL) == PRICE_DONE && v <= INT64_C(1) << 40)
        *limit = v;
    return true;
}

/* ---- models.dev -------------------------------------------------------------------------------------------------- */

struct named_kind {
    const char *name;
    int kind;
};

static int kind_named(const struct named_kind *table, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eq_cstr(name, table[i].name))
            return table[i].kind;
    return -1;
}

static const struct named_kind dev_kinds[] = {
    { "input", PRICE_INPUT }, { "output", PRICE_OUTPUT }, { "cache_read", PRICE_CACHED }, { "cached_input", PRICE_CACHED },
    { "cache_write", PRICE_CACHE_WRITE }, { "cache_write_1h", PRICE_CACHE_WRITE_1H }, { "reasoning", PRICE_REASONING },
    { "input_audio", PRICE_AUDIO_IN }, { "output_audio", PRICE_AUDIO_OUT }
};

/* {"tier":{"type":"context","size":N}}: what the tier is reached by. */
static bool dev_tier_size(struct json_cursor *c, struct price_raw *raw, int64_t *above)
{
    struct slice key, type = SLICE_NONE;
    bool first = true;
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        bool ok = slice_eq_cstr(key, "size") ? price_read_limit(c, above)
                  : slice_eq_cstr(key, "type") && json_peek(c) == JSON_STRING ? json_string(c, &type) : json_skip(c);
        if (!ok)
            return false;
    }
    if (type.n > 0 && !slice_eq_cstr(type, "context"))
        raw->unmeasured = true;
    return !c->error;
}

/* An object of rates: a tier of the list, or context_over_200k. above -1: it says so itself. */
static bool dev_tier(struct json_cursor *c, struct price_raw *raw, int64_t above, struct price_import_report *report)
{
    struct slice key;
    bool first = true;
    int64_t pico[PRICE_KINDS];
    memset(pico, 0xff, sizeof pico);
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        int kind = kind_named(dev_kinds, sizeof dev_kinds / sizeof *dev_kinds, key);
        bool ok = kind >= 0 ? price_read_rate(c, USD_PER_MILLION, PRICE_PICO_MAX, &pico[kind], report)
                  : slice_eq_cstr(key, "tier") && json_peek(c) == JSON_OBJECT ? dev_tier_size(c, raw, &above) : json_skip(c);
        if (!ok)
            return false;
    }
    if (c->error)
        return false;
    struct price_raw_tier *t = above > 0 ? price_raw_tier(raw, above) : NULL;
    if (t)
        memcpy(t->pico, pico, sizeof pico);
    else
        raw->unmeasured = true;
    return true;
}

static bool dev_tiers(struct json_cursor *c, struct price_raw *raw, struct price_import_report *report)
{
    bool first = true;
    if (!json_enter(c, JSON_ARRAY))
        return false;
    while (json_next_item(c, &first))
        if (!dev_tier(c, raw, -1, report))
            return false;
    return !c->error;
}

static bool dev_cost(struct json_cursor *c, struct price_raw *raw, struct price_import_report *report)
{
    struct slice key;
    bool first = true;
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        int kind = kind_named(dev_kinds, sizeof dev_kinds / sizeof *dev_kinds, key);
        bool ok;
        if (kind >= 0) {
            ok = price_read_rate(c, USD_PER_MILLION, PRICE_PICO_MAX, &raw->pico[kind], report);
        } else if (slice_eq_cstr(key, "tiers") && json_peek(c) == JSON_ARRAY) {
            ok = dev_tiers(c, raw, report);
        } else if (slice_eq_cstr(key, "context_over_200k") && json_peek(c) == JSON_OBJECT) {
            ok = dev_tier(c, raw, 200000, report);
        } else {
            raw->unmeasured = raw->unmeasured || json_peek(c) == JSON_NUMBER; /* citation, request: in units of their own */
            ok = json_skip(c);
        }
        if (!ok)
            return false;
    }
    return !c->error;
}

static bool dev_limit(struct json_cursor *c, struct price_raw *raw)
{
    struct slice key;
    bool first = true;
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        int64_t *to = slice_eq_cstr(key, "context") ? &raw->context : slice_eq_cstr(key, "input") ? &raw->input_limit
                      : slice_eq_cstr(key, "output") ? &raw->output_limit : NULL;
        if (!(to ? price_read_limit(c, to) : json_skip(c)))
            return false;
    }
    return !c->error;
}

/* {"input": ["text", "image"], ...}: what is not in the list cannot be sent. */
static bool dev_modalities(struct json_cursor *c, struct price_raw *raw)
{
    struct slice key, word;
    bool first = true, item = true;
    unsigned has = 0;
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        if (!slice_eq_cstr(key, "input") || json_peek(c) != JSON_ARRAY) {
            if (!json_skip(c))
                return false;
            continue;
        }
        if (!json_enter(c, JSON_ARRAY))
            return false;
        while (json_next_item(c, &item)) {
            if (!json_string(c, &word))
                return false;
            has |= slice_eq_cstr(word, "image") ? ASK_IMAGES : slice_eq_cstr(word, "audio") ? ASK_AUDIO : 0;
        }
        raw->lacks |= (ASK_IMAGES | ASK_AUDIO) & ~has;
    }
    return !c->error;
}

static bool dev_model(struct json_cursor *c, struct price_list *list, struct price_import_report *report)
{
    struct price_raw raw;
    struct model_price m;
    struct slice key;
    bool first = true;
    price_raw_init(&raw);
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        enum json_kind kind = json_peek(c);
        if (slice_eq_cstr(key, "tool_call") && kind == JSON_FALSE)
            raw.lacks |= ASK_TOOLS;
        bool ok = slice_eq_cstr(key, "provider") ? json_string(c, &raw.provider)
                  : slice_eq_cstr(key, "model") ? json_string(c, &raw.model)
                  : slice_eq_cstr(key, "cost") && kind == JSON_OBJECT ? dev_cost(c, &raw, report)
                  : slice_eq_cstr(key, "limit") && kind == JSON_OBJECT ? dev_limit(c, &raw)
                  : slice_eq_cstr(key, "modalities") && kind == JSON_OBJECT ? dev_modalities(c, &raw) : json_skip(c);
        if (!ok)
            return false;
    }
    if (!c->error && (raw.provider.n == 0 || raw.model.n == 0))
        json_fail(c, "an entry of \"models\" lacks provider or model");
    if (c->error)
        return false;
    raw.no_output = price_is_outputless(raw.model);
    price_resolve(&raw, &m);
    return price_list_add(list, &m);
}

bool price_read_models_dev(struct json_cursor *c, struct price_list *list, struct price_import_report *report)
{
    struct slice key, unit;
    bool first = true, item = true, seen = false;
    report->format = "models.dev";
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        if (slice_eq_cstr(key, "unit")) {
            if (!json_string(c, &unit))
                return false;
            if (!slice_eq_cstr(unit, "USD per 1,000,000 tokens"))
                json_fail(c, "\"unit\" must be \"USD per 1,000,000 tokens\"");
        } else if (slice_eq_cstr(key, "models") && !seen) {
            seen = true;
            if (!json_enter(c, JSON_ARRAY))
                return false;
            while (json_next_item(c, &item))
                if (!dev_model(c, list, report))
                    return false;
        } else if (!json_skip(c)) {
            return false;
        }
    }
    return json_end(c);
}
