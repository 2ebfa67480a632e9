#include "config/config_route.h"

#include "budget/zone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DROPS_MAX = 16 /* of one target: dialect/dialect_rewrite.h */ };

static const char *const orders[] = { "listed", "weight", "cost", "latency" };
static const char *const stickies[] = { "none", "conversation", "user" };

static const struct {
    const char *word;
    unsigned bits;
} dialect_words[] = {
    { "chat", 1u << ENDPOINT_CHAT },
    { "responses", 1u << ENDPOINT_RESPONSES },
    { "completions", 1u << ENDPOINT_COMPLETIONS },
    { "embeddings", 1u << ENDPOINT_EMBEDDINGS },
    { "messages", 1u << ENDPOINT_MESSAGES },
    { "openai", 1u << ENDPOINT_CHAT | 1u << ENDPOINT_RESPONSES | 1u << ENDPOINT_COMPLETIONS | 1u << ENDPOINT_EMBEDDINGS },
    { "anthropic", 1u << ENDPOINT_MESSAGES },
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static int word_index(const char *const *words, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(words[i], word) == 0)
            return (int)i;
    return -1;
}

enum route_order config_route_order(const char *word)
{
    int i = word_index(orders, COUNT(orders), word);
    return i < 0 ? ROUTE_AS_LISTED : (enum route_order)i;
}

enum route_sticky config_route_sticky(const char *word)
{
    int i = word_index(stickies, COUNT(stickies), word);
    return i < 0 ? ROUTE_STICKY_NONE : (enum route_sticky)i;
}

int32_t config_percent(const char *text)
{
    int whole = 0, used = 0;
    char hundredths[3] = "";

    if (text == NULL || strspn(text, "0123456789.%") != strlen(text) || text[0] == '.')
        return -1;
    if (sscanf(text, "%3d%%%n", &whole, &used) == 1 && used > 0 && text[used] == '\0')
        return whole <= 100 ? whole * 100 : -1;
    used = 0;
    if (sscanf(text, "%3d.%2[0-9]%%%n", &whole, hundredths, &used) == 2 && used > 0 && text[used] == '\0') {
        int part = atoi(hundredths) * (hundredths[1] == '\0' ? 10 : 1);
        return whole * 100 + part <= 10000 ? whole * 100 + part : -1;
    }
    return -1;
}

unsigned config_features(char *const *words, unsigned count)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < count; i++)
        bits |= route_feature(slice_cstr(words[i]));
    return bits;
}

static unsigned dialect_bits(const char *word)
{
    for (size_t i = 0; i < COUNT(dialect_words); i++)
        if (strcmp(dialect_words[i].word, word) == 0)
            return dialect_words[i].bits;
    return 0;
}

unsigned config_dialects(const struct config_provider *p)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < p->dialects_count; i++)
        bits |= dialect_bits(p->dialects[i]);
    return bits;
}

const char *config_hours(const struct config_hours *h, struct hours *out)
{
    char text[256];
    size_t n = 0;

    for (unsigned i = 0; i < h->days_count && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? "," : "", h->days[i]);
    if (n < sizeof text)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n > 0 ? " " : "", h->at != NULL ? h->at : "00:00-24:00");
    return hours_parse(n < sizeof text ? text : "", out);
}

bool config_member_ok(const char *name)
{
    static const char *const ours[] = { "model", "messages", "input", "prompt", "stream", "stream_options", "max_tokens",
                                        "max_completion_tokens", "max_output_tokens", "n", "best_of" };
    size_t n = strlen(name);

    return n > 0 && n <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == n &&
           word_index(ours, COUNT(ours), name) < 0;
}

static void set_word(char **value, const char *word)
{
    if (*value == NULL && (*value = strdup(word)) == NULL)
        abort();
}

/* Memory is libcyaml's, which uses malloc: config_free frees the list as if it had been read. */
static void targets_from_pair(struct config_model *m)
{
    unsigned n = 1 + (m->fallback != NULL);

    m->targets = calloc(n, sizeof *m->targets);
    if (m->targets == NULL)
        abort();
    m->targets[0] = *m->primary;
    free(m->primary);
    if (m->fallback != NULL) {
        m->targets[1] = *m->fallback;
        free(m->fallback);
    }
    m->primary = m->fallback = NULL;
    m->targets_count = n;
    m->from_pair = true;
}

void config_route_defaults(struct config *c)
{
    for (unsigned i = 0; i < c->models_count; i++) {
        struct config_model *m = &c->models[i];
        if (m->primary != NULL && m->targets_count == 0)
            targets_from_pair(m);
        set_word(&m->order, orders[ROUTE_AS_LISTED]);
        set_word(&m->sticky, stickies[ROUTE_STICKY_NONE]);
    }
}

struct place {
    const struct config_doc *doc;
    struct config_errors *errors;
    char path[96];
};

#define FAIL(place, name, ...)                                                                                                            \
    do {                                                                                                                                  \
        char at_[160];                                                                                                                    \
        snprintf(at_, sizeof at_, "%s.%s", (place)->path, name);                                                                          \
        config_doc_error((place)->doc, (place)->errors, at_, __VA_ARGS__);                                                                \
    } while (0)

static void members_check(struct place *p, const char *name, char *const *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!config_member_ok(list[i]))
            FAIL(p, name, "\"%s\" cannot stand here: a member's name is letters, digits and _; model, messages, input, prompt, stream, "
                 "stream_options, n, best_of and the output ceilings are the gateway's own", list[i]);
}

static void features_check(struct place *p, const char *name, char *const *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (route_feature(slice_cstr(list[i])) == 0)
            FAIL(p, name, "\"%s\" is unknown; allowed: stream, tools, images, audio, files, json_schema, logprobs, stored", list[i]);
}

static void hours_check(struct place *p, const struct config_hours *h, unsigned i)
{
    struct hours out;
    char name[48], why[256];
    const char *fault = config_hours(h, &out);

    snprintf(name, sizeof name, "when.hours[%u]", i);
    if (fault != NULL)
        FAIL(p, name, "\"%.64s\": %s; the days may instead stand in a list, days: [Sat, Sun]", h->at != NULL ? h->at : "", fault);
    snprintf(name, sizeof name, "when.hours[%u].time_zone", i);
    struct budget_zone *zone = budget_zone_load(NULL, h->time_zone != NULL ? h->time_zone : "UTC", why, sizeof why);
    if (zone == NULL)
        FAIL(p, name, "%s", why);
    budget_zone_free(zone);
}

static void when_check(struct place *p, const struct config_when *w)
{
    features_check(p, "when.features", w->features, w->features_count);
    features_check(p, "when.without", w->without, w->without_count);
    if (w->min_input < 0 || w->max_input < 0 || (w->max_input > 0 && w->max_input < w->min_input))
        FAIL(p, "when.max_input", "min_input and max_input are tokens, 0 or more, min_input not above max_input");
    for (unsigned i = 0; i < w->hours_count; i++)
        hours_check(p, &w->hours[i], i);
}

static void provider_missing(struct place *p, const struct config *c, const char *name)
{
    char names[512] = "";
    size_t n = 0;

    for (unsigned i = 0; i < c->providers_count && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", c->providers[i].name);
    FAIL(p, "provider", "there is no provider \"%s\"; defined: %s", name, names);
}

static void target_check(struct place *p, const struct config *c, const struct config_model *m, const struct config_target *t)
{
    const struct config_provider *provider = config_provider_find(c, slice_cstr(t->provider));

    if (provider == NULL)
        provider_missing(p, c, t->provider);
    else if (provider->drop_count + t->drop_count > DROPS_MAX)
        FAIL(p, "drop", "at most %d members can be dropped for one target, the provider's included", DROPS_MAX);
    if (!*c->haproxy.lua && strcmp(t->model, m->name) != 0)
        FAIL(p, "model", "without Lua the body cannot be rewritten, so this must equal the model's name \"%s\" (or set haproxy.lua: true)",
             m->name);
    if (!*c->haproxy.lua && (t->drop_count > 0 || (provider != NULL && provider->drop_count > 0)))
        FAIL(p, "drop", "without Lua nothing can be dropped from a body (set haproxy.lua: true, or use refuse)");
    if (t->weight != NULL && (*t->weight < 0 || *t->weight > 1000000))
        FAIL(p, "weight", "must be 0 to 1000000; 0: only when no other target is left");
    if (t->canary != NULL && config_percent(t->canary) < 0)
        FAIL(p, "canary", "\"%s\" is no share; write 5%% or 0.25%%", t->canary);
    if (t->context_window < 0)
        FAIL(p, "context_window", "must be a number of tokens");
    features_check(p, "capabilities", t->capabilities, t->capabilities_count);
    members_check(p, "drop", t->drop, t->drop_count);
    members_check(p, "refuse", t->refuse, t->refuse_count);
    if (t->when != NULL)
        when_check(p, t->when);
}

/* Where a target stands in the file: the short form has been turned into targets by now. */
static void target_path(struct place *p, bool from_pair, unsigned model, unsigned target)
{
    if (from_pair)
        snprintf(p->path, sizeof p->path, "models[%u].%s", model, target == 0 ? "primary" : "fallback");
    else
        snprintf(p->path, sizeof p->path, "models[%u].targets[%u]", model, target);
}

void config_route_check_model(const struct config *c, unsigned model, const struct config_doc *doc, struct config_errors *errors)
{
    const struct config_model *m = &c->models[model];
    struct place p = { .doc = doc, .errors = errors };
    bool first = false;

    snprintf(p.path, sizeof p.path, "models[%u]", model);
    if (m->primary != NULL || m->fallback != NULL)
        FAIL(&p, "targets", "write either targets, or primary and fallback");
    if (m->targets_count == 0 || m->targets_count > ROUTE_TARGETS_MAX)
        FAIL(&p, "targets", "needs 1 to %d targets (or primary, and perhaps fallback)", ROUTE_TARGETS_MAX);
    if (word_index(orders, COUNT(orders), m->order) < 0)
        FAIL(&p, "order", "\"%s\" is unknown; allowed: listed, weight, cost, latency", m->order);
    if (word_index(stickies, COUNT(stickies), m->sticky) < 0)
        FAIL(&p, "sticky", "\"%s\" is unknown; allowed: none, conversation, user", m->sticky);
    for (unsigned i = 0; i < m->targets_count; i++)
        first = first || m->targets[i].canary == NULL;
    if (!first && m->targets_count > 0)
        FAIL(&p, "targets", "at least one target must not be a canary");
    for (unsigned i = 0; i < m->targets_count; i++) {
        target_path(&p, m->from_pair, model, i);
        target_check(&p, c, m, &m->targets[i]);
    }
}

void config_route_check_provider(const struct config *c, unsigned provider, const struct config_doc *doc, struct config_errors *errors)
{
    const struct config_provider *f = &c->providers[provider];
    struct place p = { .doc = doc, .errors = errors };
    char path[64];

    snprintf(p.path, sizeof p.path, "providers[%u]", provider);
    for (unsigned i = 0; i < f->dialects_count; i++)
        if (dialect_bits(f->dialects[i]) == 0)
            FAIL(&p, "dialects", "\"%s\" is unknown; allowed: chat, responses, completions, embeddings, messages, openai (the first four), "
                 "anthropic (messages)", f->dialects[i]);
    members_check(&p, "drop", f->drop, f->drop_count);
    members_check(&p, "refuse", f->refuse, f->refuse_count);
    snprintf(path, sizeof path, "providers[%u].breaker", provider);
    if (f->breaker != NULL)
        config_route_check_breaker(f->breaker, path, doc, errors);
}

static void number_check(struct place *p, const char *name, const int64_t *v, int64_t least, int64_t most)
{
    if (v != NULL && (*v < least || *v > most))
        FAIL(p, name, "must be %lld to %lld", (long long)least, (long long)most);
}

static void time_check(struct place *p, const char *name, const char *text, int64_t least_us, const char *least)
{
    int64_t us = 0;
    if (text != NULL && (!config_duration_us(text, &us) || us < least_us || us > INT64_C(86400000000)))
        FAIL(p, name, "\"%s\" must be a duration from %s to 24h: 250ms, 10s, 15m", text, least);
}

void config_route_check_breaker(const struct config_breaker *b, const char *path, const struct config_doc *doc,
                                struct config_errors *errors)
{
    struct place p = { .doc = doc, .errors = errors };

    snprintf(p.path, sizeof p.path, "%s", path);
    number_check(&p, "failures", b->failures, 0, 1000);
    number_check(&p, "min_requests", b->min_requests, 1, 1000000);
    number_check(&p, "ttft_percentile", b->ttft_percentile, 1, 99);
    number_check(&p, "probes", b->probes, 1, 100);
    if (b->error_rate != NULL && config_percent(b->error_rate) < 0)
        FAIL(&p, "error_rate", "\"%s\" is no share; write 50%%, or 0%% for never", b->error_rate);
    time_check(&p, "window", b->window, 1000000, "1s");
    time_check(&p, "ttft", b->ttft, 0, "0s");
    time_check(&p, "open", b->open, 100000, "100ms");
    time_check(&p, "open_max", b->open_max, 100000, "100ms");
    time_check(&p, "retry_after", b->retry_after, 0, "0s");
    time_check(&p, "retry_after_max", b->retry_after_max, 1000000, "1s");
}

static void layer(const struct config_breaker *b, struct breaker_options *o)
{
    const struct {
        const char *text;
        int64_t *us;
    } times[] = { { b->window, &o->window_us }, { b->ttft, &o->ttft_us }, { b->open, &o->open_us }, { b->open_max, &o->open_max_us },
                  { b->retry_after, &o->retry_after_us }, { b->retry_after_max, &o->retry_after_max_us } };
    const struct {
        const int64_t *number;
        int *to;
    } numbers[] = { { b->failures, &o->failures }, { b->min_requests, &o->min_requests }, { b->ttft_percentile, &o->ttft_percentile },
                    { b->probes, &o->probes } };

    for (size_t i = 0; i < COUNT(times); i++)
        if (times[i].text != NULL)
            config_duration_us(times[i].text, times[i].us);
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (numbers[i].number != NULL)
            *numbers[i].to = (int)*numbers[i].number;
    if (b->error_rate != NULL)
        o->error_percent = config_percent(b->error_rate) / 100;
}

struct breaker_options config_breaker(const struct config *c, const struct config_provider *p)
{
    struct breaker_options o = {
        .failures = 5, .error_percent = 50, .min_requests = 20, .window_us = 30000000, .ttft_us = 0, .ttft_percentile = 90,
        .open_us = 2000000, .open_max_us = 15000000, .retry_after_us = 2000000, .retry_after_max_us = INT64_C(600000000), .probes = 3,
    };

    layer(&c->breaker, &o);
    if (p->breaker != NULL)
        layer(p->breaker, &o);
    return o;
}
