#include "runtime_routes.h"

#include "agent.h"
#include "budget/zone.h"
#include "config/config_route.h"
#include "dialect/dialect_rewrite.h"
#include "decide/passing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct runtime_zone {
    struct runtime_zone *next;
    const char *name; /* the configuration's */
    struct budget_zone *zone;
};

/* While one alias is built. */
struct building {
    struct runtime *r;
    const struct config_model *config;
    struct runtime_model *model;
    struct route_target *targets;
    struct slice *members;
    size_t member_count;
    char *why;
    size_t why_size;
};

static bool no_memory(struct building *b)
{
    snprintf(b->why, b->why_size, "out of memory");
    return false;
}

void runtime_zones_free(struct runtime *r)
{
    for (struct runtime_zone *z = r->zones; z != NULL; z = z->next)
        budget_zone_free(z->zone);
}

static const struct budget_zone *zone_find(struct building *b, const char *name)
{
    struct runtime_zone *z = b->r->zones;

    while (z != NULL && strcmp(z->name, name) != 0)
        z = z->next;
    if (z != NULL)
        return z->zone;
    z = arena_zalloc(b->r->arena, sizeof *z);
    if (z == NULL || (z->zone = budget_zone_load(NULL, name, b->why, b->why_size)) == NULL)
        return NULL;
    z->name = name;
    z->next = b->r->zones;
    b->r->zones = z;
    return z->zone;
}

static int minute_of_week(const void *zone, int64_t now_us)
{
    int64_t next, s = now_us / 1000000;

    return hours_minute_of_week(s + budget_zone_offset(zone, s, &next));
}

static bool names_fill(struct building *b, char *const *list, unsigned count, struct route_names *out)
{
    struct slice *names = arena_alloc(b->r->arena, (count + 1) * sizeof *names);

    if (names == NULL)
        return no_memory(b);
    for (unsigned i = 0; i < count; i++)
        names[i] = slice_cstr(list[i]);
    *out = (struct route_names){ .names = names, .count = count };
    return true;
}

static bool hours_fill(struct building *b, const struct config_when *w, struct route_when *out)
{
    struct route_hours *hours = arena_alloc(b->r->arena, (w->hours_count + 1) * sizeof *hours);

    if (hours == NULL)
        return no_memory(b);
    for (unsigned i = 0; i < w->hours_count; i++) {
        if (config_hours(&w->hours[i], &hours[i].week) != NULL)
            abort(); /* config_load refused them */
        hours[i].zone = zone_find(b, w->hours[i].time_zone != NULL ? w->hours[i].time_zone : "UTC");
        if (hours[i].zone == NULL)
            return false;
    }
    out->hours = hours;
    out->hours_count = w->hours_count;
    return true;
}

static bool when_fill(struct building *b, const struct config_when *w, struct route_when *out)
{
    out->features = config_features(w->features, w->features_count);
    out->without = config_features(w->without, w->without_count);
    out->min_input = w->min_input;
    out->max_input = w->max_input;
    return names_fill(b, w->organization, w->organization_count, &out->organization) &&
           names_fill(b, w->team, w->team_count, &out->team) && names_fill(b, w->user, w->user_count, &out->user) &&
           names_fill(b, w->application, w->application_count, &out->application) &&
           names_fill(b, w->cost_center, w->cost_center_count, &out->cost_center) &&
           names_fill(b, w->group, w->group_count, &out->group) && hours_fill(b, w, out);
}

/* The bit of a member in the alias' list, which it joins. False: too many. */
static bool member_bit(struct building *b, const char *name, unsigned *bits)
{
    size_t i = 0;

    while (i < b->member_count && !slice_eq_cstr(b->members[i], name))
        i++;
    if (i == ROUTE_MEMBERS_MAX) {
        snprintf(b->why, b->why_size, "model \"%s\": its targets refuse more than %d different members", b->config->name,
                 ROUTE_MEMBERS_MAX);
        return false;
    }
    b->members[i] = slice_cstr(name);
    b->member_count += i == b->member_count;
    *bits |= 1u << i;
    return true;
}

static bool members_fill(struct building *b, const struct config_target *t, struct runtime_target *out, struct route_target *route)
{
    const struct config_provider *p = out->provider;
    size_t n = p->drop_count + t->drop_count;
    struct rewrite_member *drop = arena_zalloc(b->r->arena, (n + 1) * sizeof *drop);

    if (drop == NULL)
        return no_memory(b);
    for (size_t i = 0; i < n; i++)
        drop[i].name = i < p->drop_count ? p->drop[i] : t->drop[i - p->drop_count];
    out->drop = drop;
    out->drop_count = n;
    for (unsigned i = 0; i < p->refuse_count; i++)
        if (!member_bit(b, p->refuse[i], &route->refuses))
            return false;
    for (unsigned i = 0; i < t->refuse_count; i++)
        if (!member_bit(b, t->refuse[i], &route->refuses))
            return false;
    return true;
}

/* Its own rules; where they equal an earlier target's, that one's count will do. */
static bool counting_fill(struct building *b, size_t i, const struct config_target *t, struct runtime_target *out)
{
    token_rules_for_model(slice_cstr(t->model), &out->rules);
    if (b->config->encoding != NULL)
        out->rules.encoding = b->config->encoding;
    if (t->context_window > 0 || (out->price != NULL && out->price->context > 0))
        out->rules.window = t->context_window > 0 ? t->context_window : out->price->context;
    out->tokenizer = tokenizer_set_find(b->r->agent->tokenizers, slice_cstr(out->rules.encoding));
    if (out->tokenizer == NULL) {
        snprintf(b->why, b->why_size, "model \"%s\": there is no encoding \"%s\"; known: o200k_base, cl100k_base, p50k_base, r50k_base, "
                 "o200k_harmony", b->config->name, out->rules.encoding);
        return false;
    }
    out->counts_as = 0;
    while (out->counts_as < i && memcmp(&b->model->targets[out->counts_as].rules, &out->rules, sizeof out->rules) != 0)
        out->counts_as++;
    return true;
}

static unsigned endpoints_of(const struct config_provider *p)
{
    if (p->dialects_count == 0 && strcmp(p->auth, "x-api-key") == 0)
        return 1u << ENDPOINT_MESSAGES; /* Anthropic's way of bringing a key */
    return config_dialects(p);
}

static bool target_fill(struct building *b, size_t i, const struct config_target *t)
{
    struct runtime_target *out = &b->model->targets[i];
    struct route_target *route = &b->targets[i];
    const struct config_provider *p = config_provider_find(b->r->config, slice_cstr(t->provider));

    if (p == NULL)
        abort(); /* config_load refused dangling names */
    out->provider = p;
    out->price = price_lookup(b->r->routed, slice_cstr(p->price_as), slice_cstr(t->model), NULL);
    if (!counting_fill(b, i, t, out))
        return false;
    *route = (struct route_target){
        .target = { .group = slice_cstr(p->name), .provider = slice_cstr(p->price_as), .model = slice_cstr(t->model),
                    .encoding = slice_cstr(out->rules.encoding) },
        .endpoints = endpoints_of(p),
        .context_window = t->context_window > 0 ? t->context_window : out->price != NULL ? out->price->context : 0,
        .input_limit = t->context_window == 0 && out->price != NULL ? out->price->input_limit : 0,
        .lacks = t->capabilities_count > 0 ? ~config_features(t->capabilities, t->capabilities_count)
                 : out->price != NULL      ? out->price->lacks
                                           : 0,
        .weight = t->weight != NULL ? (uint32_t)*t->weight : 1,
        .canary = t->canary != NULL,
        .canary_share = t->canary != NULL ? (uint16_t)config_percent(t->canary) : 0,
    };
    out->mark = (uint16_t)route_hash(route_hash(0, route->target.group), route->target.model);
    out->breaker = breaker_get(b->r->agent->breakers, route->target.group, route->target.model);
    return members_fill(b, t, out, route) && (t->when == NULL || when_fill(b, t->when, &route->when));
}

static bool alias_build(struct building *b, struct route_alias *alias)
{
    const struct config_model *m = b->config;
    size_t n = m->targets_count;

    b->model->config = m;
    b->model->targets = arena_zalloc(b->r->arena, n * sizeof *b->model->targets);
    b->targets = arena_zalloc(b->r->arena, n * sizeof *b->targets);
    b->members = arena_zalloc(b->r->arena, ROUTE_MEMBERS_MAX * sizeof *b->members);
    if (b->model->targets == NULL || b->targets == NULL || b->members == NULL)
        return no_memory(b);
    for (size_t i = 0; i < n; i++)
        if (!target_fill(b, i, &m->targets[i]))
            return false;
    *alias = (struct route_alias){ .name = slice_cstr(m->name), .targets = b->targets, .target_count = n,
                                   .order = config_route_order(m->order), .sticky = config_route_sticky(m->sticky),
                                   .members = b->members, .member_count = b->member_count };
    return true;
}

bool runtime_routes_build(struct runtime *r, char *why, size_t why_size)
{
    const struct config *c = r->config;
    struct route_alias *aliases = arena_zalloc(r->arena, (c->models_count + c->passthrough_count + 1) * sizeof *aliases);

    r->models = arena_zalloc(r->arena, (c->models_count + c->passthrough_count + 1) * sizeof *r->models);
    if (aliases == NULL || r->models == NULL)
        return false;
    for (unsigned i = 0; i < c->models_count; i++) {
        struct building b = { .r = r, .config = &c->models[i], .model = &r->models[i], .why = why, .why_size = why_size };
        if (!alias_build(&b, &aliases[i]))
            return false;
    }
    if (!passing_build(r, aliases))
        return false;
    r->routes = (struct route_table){ .aliases = aliases, .alias_count = c->models_count, .minute_of_week = minute_of_week };
    return true;
}

void runtime_breakers_set(const struct runtime *r)
{
    for (size_t i = 0; i < r->routes.alias_count; i++)
        for (size_t k = 0; k < r->routes.aliases[i].target_count; k++) {
            const struct runtime_target *t = &r->models[i].targets[k];
            struct breaker_options o = config_breaker(r->config, t->provider);
            if (t->breaker != NULL)
                breaker_configure(t->breaker, &o);
        }
}
