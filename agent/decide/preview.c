#include "decide/preview.h"

#include "base/clock.h"
#include "decide/assess_route.h"
#include "config/config_map.h"
#include "dialect/dialect.h"
#include "outcome/learning.h"
#include "route/affinity.h"
#include "route/breaker.h"
#include "runtime_routes.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_FIRST = 65536, OUTPUT_UNKNOWN = 4096 /* output tokens where neither the request nor the price table says */ };

static bool has_lua = true;

/* A configuration of one model, named and priced as the request names it. */
static struct config *config_own(struct preview *p)
{
    struct slice name = arena_printf(p->s.arena, "%.*s", SLICE_FMT(p->s.ask.model));

    if (name.n == 0)
        return NULL;
    p->own_provider = (struct config_provider){ .name = "openai", .price_as = "openai", .auth = "bearer",
                                                .output_key = "max_completion_tokens" };
    p->own_target = (struct config_target){ .provider = "openai", .model = (char *)name.p };
    p->own_model = (struct config_model){ .name = (char *)name.p, .targets = &p->own_target, .targets_count = 1, .order = "listed",
                                          .sticky = "none", .overrun = "finish" };
    p->own_config = (struct config){ .providers = &p->own_provider, .providers_count = 1, .models = &p->own_model, .models_count = 1 };
    p->own_config.haproxy.lua = &has_lua;
    return &p->own_config;
}

/* Without a configuration, the model's own limit is the most it may use. */
static void own_output(struct preview *p)
{
    const struct model_price *price = p->runtime.models[0].targets[0].price;

    if (price != NULL && price->output_limit > 0)
        p->own_model.max_output = price->output_limit;
    else
        p->own_model.max_output = p->s.ask.max_output >= 0 ? p->s.ask.max_output : OUTPUT_UNKNOWN;
}

/* Another encoding for the model asked for, for as long as the routes are built: the configuration's texts are its own. */
static bool routes_build(struct preview *p, const char *encoding, char *why, size_t why_size)
{
    struct config *c = p->runtime.config;
    struct config_model *m = NULL;

    for (unsigned i = 0; i < c->models_count; i++)
        if (slice_eq_cstr(p->s.ask.model, c->models[i].name))
            m = &c->models[i];
    char *own = m != NULL ? m->encoding : NULL;
    if (m != NULL && encoding != NULL)
        m->encoding = (char *)encoding;
    bool good = runtime_routes_build(&p->runtime, why, why_size);
    if (m != NULL)
        m->encoding = own;
    return good;
}

static bool surroundings_make(struct preview *p, const struct preview_options *o, char *why, size_t why_size)
{
    struct agent *a = &p->agent;

    a->tokenizers = o->tokenizers;
    a->learner = token_learner_new();
    a->breakers = breaker_table_new();
    a->affinity = affinity_new();
    snprintf(why, why_size, "out of memory");
    if (a->learner == NULL || a->breakers == NULL || a->affinity == NULL)
        return false;
    p->runtime.agent = a;
    p->runtime.arena = p->s.arena;
    p->runtime.config = o->config != NULL ? o->config : config_own(p);
    if (p->runtime.config == NULL || (p->runtime.prices = config_price_steps(p->runtime.config, &p->runtime.prices_count, why, why_size)) == NULL)
        return false;
    p->s.prices = runtime_prices(&p->runtime, clock_wall_us())->table;
    p->runtime.routed = p->s.prices;
    if (!routes_build(p, o->encoding, why, why_size))
        return false;
    if (o->config == NULL)
        own_output(p);
    struct learning_found found;
    if (o->ledger != NULL && !learning_read(a->learner, o->ledger, &found, p->unlearned, sizeof p->unlearned) && p->unlearned[0] == '\0')
        snprintf(p->unlearned, sizeof p->unlearned, "out of memory");
    return true;
}

static bool count_for(struct preview *p, struct token_counter *counter, const struct runtime_target *t, struct token_estimate *out, char *why,
                      size_t why_size)
{
    bool unbounded = false;

    if (token_estimate_ask(counter, t->tokenizer, &t->rules, &p->s.ask, out, &unbounded) == 0)
        return true;
    if (unbounded)
        p->s.no = assess_unbounded();
    else
        snprintf(why, why_size, "out of memory");
    return false;
}

/* As a decision counts: for the targets chosen, until the choice stands. */
static bool count_chosen(struct preview *p, struct token_counter *counter, char *why, size_t why_size)
{
    const struct runtime_target *t;
    struct token_estimate count;

    while ((t = assess_to_count(&p->s)) != NULL)
        if (!count_for(p, counter, t, &count, why, why_size) || !assess_counted(&p->s, t, &count))
            return false;
    return true;
}

static bool count_others(struct preview *p, struct token_counter *counter, char *why, size_t why_size)
{
    const struct runtime_model *m = runtime_model_of(&p->runtime, p->s.alias);

    for (size_t i = 0; i < p->s.alias->target_count; i++) {
        uint32_t as = m->targets[i].counts_as;
        if (p->s.counted >> as & 1)
            continue;
        if (!count_for(p, counter, &m->targets[as], &p->s.counts[as], why, why_size))
            return false;
        p->s.counted |= 1u << as;
    }
    return true;
}

static void choose(struct assessment *s, size_t primary, size_t fallback)
{
    const struct runtime_model *m = runtime_model_of(s->runtime, s->alias);

    s->primary = &m->targets[primary];
    s->choice = (struct route_choice){ .alias = s->alias, .primary = &s->alias->targets[primary] };
    s->fallback = fallback != primary ? &m->targets[fallback] : NULL;
    if (fallback != primary)
        s->choice.fallback = &s->alias->targets[fallback];
}

static bool serves(const struct assessment *s, size_t i)
{
    unsigned endpoints = s->alias->targets[i].endpoints;
    return endpoints == 0 || (endpoints >> s->ask.endpoint & 1);
}

/* The dearest pair of targets: the ceiling is the primary's, the price the dearer one's. */
static bool most_find(const struct preview *p, struct assessment *dearest)
{
    struct assessment s = p->s;
    bool found = false;

    for (size_t i = 0; i < s.alias->target_count; i++)
        for (size_t k = 0; k < s.alias->target_count; k++) {
            if (!serves(&s, i) || !serves(&s, k))
                continue;
            choose(&s, i, k);
            if (assess_price(&s) && (!found || s.hold_nano > dearest->hold_nano)) {
                *dearest = s;
                found = true;
            }
        }
    return found;
}

static void price_find(struct preview *p)
{
    struct assessment dearest;
    bool found = most_find(p, &dearest);

    p->priced = assess_price(&p->s);
    if (p->depends && found) {
        p->s = dearest;
        p->priced = true;
    }
    p->most_nano = found ? dearest.hold_nano : p->s.hold_nano;
    p->built_in = *assess_count_of(&p->s, p->s.primary);
}

static bool on_people(const struct route_when *w)
{
    return w->organization.count + w->team.count + w->user.count + w->application.count + w->cost_center.count + w->group.count > 0;
}

/* Who asks, or what was measured, decides between the targets. */
static bool choice_open(const struct route_alias *alias)
{
    bool open = alias->order == ROUTE_BY_WEIGHT || alias->order == ROUTE_BY_LATENCY;

    for (size_t i = 0; i < alias->target_count; i++)
        open |= alias->targets[i].canary || on_people(&alias->targets[i].when);
    return open && alias->target_count > 1;
}

/* Conditions on people hold for nobody here: where nothing else is in the way, any target may be the one. */
static bool route_find_targets(struct preview *p, struct token_counter *counter, char *why, size_t why_size)
{
    struct assessment *s = &p->s;

    if (assess_route_start(s, s->ask.model) && count_chosen(p, counter, why, why_size)) {
        p->depends = choice_open(s->alias);
        return true;
    }
    const struct route_alias *alias = route_find(&p->runtime.routes, s->ask.model);
    if (alias == NULL || s->no.status != 403)
        return false;
    s->no = (struct refusal){ .status = 0 };
    s->alias = alias;
    choose(s, 0, 0);
    p->depends = true;
    return true;
}

bool preview_make(struct preview *p, const struct preview_options *o, char *why, size_t why_size)
{
    struct assessment *s = &p->s;

    *p = (struct preview){ .depends = false };
    s->arena = arena_new(ARENA_FIRST);
    s->runtime = &p->runtime;
    s->rq.body = o->body;
    s->ask.endpoint = o->endpoint;
    s->who.team = o->team;
    s->who.organization = o->organization;
    snprintf(why, why_size, "out of memory");
    if (s->arena == NULL)
        return false;
    int rc = o->count_only ? dialect_parse_count(o->body, s->arena, &s->ask, &s->no)
                           : dialect_parse(o->endpoint, o->body, s->arena, &s->ask, &s->no);
    if (rc != 0)
        return false;
    if (!surroundings_make(p, o, why, why_size) || !route_find_targets(p, o->counter, why, why_size))
        return false;
    if (!count_others(p, o->counter, why, why_size))
        return false;
    price_find(p);
    return true;
}

void preview_free(struct preview *p)
{
    runtime_zones_free(&p->runtime);
    config_price_steps_free(p->runtime.prices, p->runtime.prices_count);
    affinity_free(p->agent.affinity);
    breaker_table_free(p->agent.breakers);
    token_learner_free(p->agent.learner);
    arena_free(p->s.arena);
}
