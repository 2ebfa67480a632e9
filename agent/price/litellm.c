/* LiteLLM's model_prices_and_context_window.json: an object by model; USD per single token; thresholds stand in the field names. */
#include "price/build.h"
#include "price/json.h"

enum { USD_PER_TOKEN = 12 };

static const struct {
    const char *name;
    int kind;
} fields[] = {
    { "input_cost_per_token", PRICE_INPUT },
    { "output_cost_per_token", PRICE_OUTPUT },
    { "cache_read_input_token_cost", PRICE_CACHED },
    { "cache_creation_input_token_cost", PRICE_CACHE_WRITE },
    { "cache_creation_input_token_cost_above_1hr", PRICE_CACHE_WRITE_1H },
    { "output_cost_per_reasoning_token", PRICE_REASONING },
    { "input_cost_per_audio_token", PRICE_AUDIO_IN },
    { "output_cost_per_audio_token", PRICE_AUDIO_OUT }
};

/* Its provider names, where they are not those of the other catalogue: one model must have one name. */
static const struct {
    const char *theirs, *ours;
} providers[] = {
    { "bedrock", "amazon-bedrock" }, { "bedrock_converse", "amazon-bedrock" }, { "gemini", "google" },
    { "vertex_ai-language-models", "google-vertex" }, { "vertex_ai-chat-models", "google-vertex" },
    { "vertex_ai-embedding-models", "google-vertex" }, { "vertex_ai", "google-vertex" },
    { "vertex_ai-anthropic_models", "google-vertex-anthropic" }, { "together_ai", "togetherai" }, { "fireworks_ai", "fireworks-ai" },
    { "azure_ai", "azure" }, { "moonshot", "moonshotai" }, { "zhipuai", "zai" }, { "dashscope", "alibaba" }, { "nvidia_nim", "nvidia" },
    { "text-completion-openai", "openai" }, { "cohere_chat", "cohere" }
};

/* "..._above_128k_tokens": cuts it off and returns 128000; 0 when the name has no such end. */
static int64_t threshold(struct slice *name)
{
    static const char mark[] = "_above_", tail[] = "k_tokens";
    size_t n = name->n;
    if (n < sizeof tail || memcmp(name->p + n - (sizeof tail - 1), tail, sizeof tail - 1) != 0)
        return 0;
    n -= sizeof tail - 1;
    int64_t v = 0, unit = 1000;
    size_t digits = 0;
    for (; n > 0 && name->p[n - 1] >= '0' && name->p[n - 1] <= '9' && digits < 6; n--, digits++, unit *= 10)
        v += (name->p[n - 1] - '0') * unit;
    if (digits == 0 || n < sizeof mark || memcmp(name->p + n - (sizeof mark - 1), mark, sizeof mark - 1) != 0)
        return 0;
    name->n = n - (sizeof mark - 1);
    return v;
}

static bool read_field(struct json_cursor *c, struct price_raw *raw, struct slice key, struct price_import_report *report)
{
    struct slice name = key;
    int64_t pico, above = threshold(&name);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!slice_eq_cstr(name, fields[i].name))
            continue;
        if (!price_read_rate(c, USD_PER_TOKEN, PRICE_PICO_MAX, &pico, report))
            return false;
        struct price_raw_tier *t = above > 0 && pico >= 0 ? price_raw_tier(raw, above) : NULL;
        if (t)
            t->pico[fields[i].kind] = pico;
        else if (above == 0)
            raw->pico[fields[i].kind] = pico;
        return true;
    }
    return json_skip(c);
}

/* Of images, where no usage record tells them from the tokens of `beside`: beyond its price they cannot be billed. */
static const struct {
    const char *name;
    int beside;
} image_fields[] = {
    { "input_cost_per_image_token", PRICE_INPUT }
};

struct entry {
    struct price_raw raw;
    int64_t images[sizeof image_fields / sizeof *image_fields];
    struct slice provider, mode;
};

/* A 0 says that nobody filled it in. */
static bool read_image_out(struct json_cursor *c, int64_t max, int64_t *pico, struct price_import_report *report)
{
    if (!price_read_rate(c, USD_PER_TOKEN, max, pico, report))
        return false;
    *pico = *pico > 0 ? *pico : -1;
    return true;
}

static bool read_key(struct json_cursor *c, struct entry *e, struct slice key, struct price_import_report *report)
{
    enum json_kind kind = json_peek(c);
    int64_t old = 0;
    if (slice_eq_cstr(key, "litellm_provider") && kind == JSON_STRING)
        return json_string(c, &e->provider);
    if (slice_eq_cstr(key, "mode") && kind == JSON_STRING)
        return json_string(c, &e->mode);
    if (slice_eq_cstr(key, "max_input_tokens"))
        return price_read_limit(c, &e->raw.input_limit);
    if (slice_eq_cstr(key, "max_output_tokens"))
        return price_read_limit(c, &e->raw.output_limit);
    if (slice_eq_cstr(key, "max_tokens")) { /* the older name of max_output_tokens */
        if (!price_read_limit(c, &old))
            return false;
        e->raw.output_limit = e->raw.output_limit ? e->raw.output_limit : old;
        return true;
    }
    if (slice_eq_cstr(key, "input_cost_per_request") && kind != JSON_NULL)
        return price_read_rate(c, USD_PER_TOKEN, PRICE_REQUEST_MAX, &e->raw.request_pico, report);
    if (slice_eq_cstr(key, "input_cost_per_image") && kind != JSON_NULL)
        return price_read_rate(c, USD_PER_TOKEN, PRICE_REQUEST_MAX, &e->raw.image_pico, report);
    if (slice_eq_cstr(key, "output_cost_per_image") && kind != JSON_NULL)
        return read_image_out(c, PRICE_REQUEST_MAX, &e->raw.image_out_pico, report);
    if (slice_eq_cstr(key, "output_cost_per_image_token") && kind != JSON_NULL)
        return read_image_out(c, PRICE_PICO_MAX, &e->raw.image_token_pico, report);
    for (size_t i = 0; i < sizeof image_fields / sizeof *image_fields; i++)
        if (slice_eq_cstr(key, image_fields[i].name) && kind != JSON_NULL)
            return price_read_rate(c, USD_PER_TOKEN, PRICE_REQUEST_MAX, &e->images[i], report);
    if (kind == JSON_FALSE)
        e->raw.lacks |= slice_eq_cstr(key, "supports_function_calling") ? ASK_TOOLS : slice_eq_cstr(key, "supports_vision") ? ASK_IMAGES
                        : slice_eq_cstr(key, "supports_audio_input") ? ASK_AUDIO
                        : slice_eq_cstr(key, "supports_response_schema") ? ASK_JSON_SCHEMA : 0;
    if (slice_eq_cstr(key, "tiered_pricing") && kind == JSON_ARRAY)
        e->raw.unmeasured = true;
    return read_field(c, &e->raw, key, report);
}

static struct slice provider_name(struct slice theirs)
{
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++)
        if (slice_eq_cstr(theirs, providers[i].theirs))
            return slice_cstr(providers[i].ours);
    return theirs;
}

/* "azure/gpt-4o" of provider azure is gpt-4o. */
static struct slice model_name(struct slice key, struct slice provider)
{
    struct slice family = provider;
    const char *dash = memchr(provider.p, '-', provider.n);
    if (dash && slice_starts(provider, SLICE_LIT("vertex_ai")))
        family.n = (size_t)(dash - provider.p);
    if (key.n > family.n + 1 && slice_starts(key, family) && key.p[family.n] == '/')
        return slice_make(key.p + family.n + 1, key.n - family.n - 1);
    return key;
}

static bool read_model(struct json_cursor *c, struct slice name, struct price_list *list, struct price_import_report *report)
{
    struct entry e = { .provider = SLICE_NONE };
    struct model_price m;
    struct slice key;
    bool first = true;
    price_raw_init(&e.raw);
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key))
        if (!read_key(c, &e, key, report))
            return false;
    if (c->error)
        return false;
    if (e.provider.n == 0 || slice_eq_cstr(name, "sample_spec") || name.n == 0) {
        report->skipped++;
        return true;
    }
    e.raw.provider = provider_name(e.provider);
    e.raw.model = model_name(name, e.provider);
    for (size_t i = 0; i < sizeof image_fields / sizeof *image_fields; i++) {
        e.raw.unmeasured = e.raw.unmeasured || e.images[i] > e.raw.pico[image_fields[i].beside];
    }
    e.raw.no_output = slice_eq_cstr(e.mode, "embedding") || slice_eq_cstr(e.mode, "rerank") || price_is_outputless(name);
    price_resolve(&e.raw, &m);
    return price_list_add(list, &m);
}

bool price_read_litellm(struct json_cursor *c, struct price_list *list, struct price_import_report *report)
{
    struct slice key;
    bool first = true;
    report->format = "litellm";
    if (!json_enter(c, JSON_OBJECT))
        return false;
    while (json_next_key(c, &first, &key)) {
        bool ok;
        if (slice_eq_cstr(key, "sample_spec") || json_peek(c) != JSON_OBJECT) {
            report->skipped++;
            ok = json_skip(c);
        } else {
            ok = read_model(c, key, list, report);
        }
        if (!ok)
            return false;
    }
    return json_end(c);
}
