#include "decide/passing.h"

#include "agent.h"
#include "base/clock.h"
#include "config/config_passthrough.h"
#include "decide/assess_route.h"

#include <stdlib.h>
#include <string.h>

static bool alias_build(struct runtime *r, const struct config_passthrough *f, struct runtime_model *model, struct route_alias *alias)
{
    const struct config_provider *p = config_provider_find(r->config, slice_cstr(f->provider));
    struct config_model *config = arena_zalloc(r->arena, sizeof *config);
    struct route_target *target = arena_zalloc(r->arena, sizeof *target);

    if (p == NULL)
        abort(); /* config_load refused dangling names */
    model->targets = arena_zalloc(r->arena, sizeof *model->targets);
    if (config == NULL || target == NULL || model->targets == NULL)
        return false;
    *config = (struct config_model){ .name = f->path, .overrun = (char *)(uintptr_t)"finish" };
    model->config = config;
    model->targets[0] = (struct runtime_target){ .provider = p };
    *target = (struct route_target){ .target = { .group = slice_cstr(p->name), .provider = slice_cstr(p->price_as),
                                                 .model = slice_cstr(f->path) },
                                     .endpoints = 1u << ENDPOINT_PASSTHROUGH };
    *alias = (struct route_alias){ .name = slice_cstr(f->path), .targets = target, .target_count = 1 };
    return true;
}

bool passing_build(struct runtime *r, struct route_alias *aliases)
{
    const struct config *c = r->config;

    for (unsigned i = 0; i < c->passthrough_count; i++)
        if (!alias_build(r, &c->passthrough[i], &r->models[c->models_count + i], &aliases[c->models_count + i]))
            return false;
    return true;
}

static bool covers(struct slice prefix, struct slice path)
{
    return slice_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/');
}

/* The longest path that covers it; NULL: none. */
static const struct config_passthrough *route_of(const struct config *c, struct slice path)
{
    const struct config_passthrough *best = NULL;

    for (unsigned i = 0; i < c->passthrough_count; i++)
        if (covers(slice_cstr(c->passthrough[i].path), path) && (best == NULL || strlen(c->passthrough[i].path) > strlen(best->path)))
            best = &c->passthrough[i];
    return best;
}

/* What a provider might read as another path than the one that was looked at here: no "..", no empty segment, nothing encoded. */
static bool path_plain(struct slice path)
{
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || strchr("-._~:@/", c) == NULL))
            return false;
        if (i > 0 && path.p[i - 1] == '/' && (c == '/' || c == '.'))
            return false;
    }
    return true;
}

static bool method_allowed(const struct config_passthrough *p, struct slice method)
{
    for (unsigned i = 0; i < p->methods_count; i++)
        if (slice_eq_cstr(method, p->methods[i]))
            return true;
    return false;
}

static struct slice methods_text(const struct config_passthrough *p, struct arena *a)
{
    struct slice out = SLICE_NONE;

    for (unsigned i = 0; i < p->methods_count; i++)
        out = arena_printf(a, "%.*s%s%s", SLICE_FMT(out), i > 0 ? ", " : "", p->methods[i]);
    return out;
}

bool passing_find(struct assessment *s)
{
    const struct config_passthrough *p = route_of(s->runtime->config, s->rq.path);

    if (p == NULL)
        return false;
    s->ask = (struct ask){ .endpoint = ENDPOINT_PASSTHROUGH, .model = slice_cstr(p->path), .max_output = -1, .choices = 1,
                           .thinking_budget = -1 };
    if (!path_plain(s->rq.path))
        s->no = refusal_make(400, "invalid_request_error", "invalid_path", "path",
                             SLICE_LIT("The path holds empty or dotted segments, or characters other than letters, digits and -._~:@."));
    else if (!method_allowed(p, s->rq.method))
        s->no = assess_wrong_method(methods_text(p, s->arena), s->arena);
    return true;
}

static const struct config_passthrough *config_of(const struct assessment *s)
{
    return &s->runtime->config->passthrough[(size_t)(s->alias - s->runtime->routes.aliases) - s->runtime->routes.alias_count];
}

void passing_start(struct assessment *s)
{
    const struct route_table *t = &s->runtime->routes;
    size_t i = t->alias_count;

    while (!slice_eq(t->aliases[i].name, s->ask.model)) /* it is there: passing_find took it from the same configuration */
        i++;
    s->alias = &t->aliases[i];
    s->credentials = s->credentials != NULL ? s->credentials : credential_acquire(s->runtime->credentials);
    s->choice = (struct route_choice){ .alias = s->alias, .primary = s->alias->targets };
    s->route_mono_us = clock_mono_us();
    s->route_wall_us = clock_wall_us();
    assess_route_same(s);
    s->primary = runtime_target_of(s->runtime, s->alias, s->choice.primary);
    s->fallback = runtime_target_of(s->runtime, s->alias, s->choice.fallback);
    s->counts[0] = (struct token_estimate){ .input = 0 };
    s->counted = 1;
}

void passing_price(struct assessment *s)
{
    int64_t nano = config_passthrough_price(config_of(s));
    s->hold_nano = nano > 0 ? nano : 0;
}

bool passing_payable(struct assessment *s)
{
    if (config_passthrough_price(config_of(s)) >= 0 || !s->budget.tight_known[BUDGET_USD])
        return true;
    s->no = refusal_make(400, "invalid_request_error", "model_not_priced", "unpriced",
                         arena_printf(s->arena, "Requests to %.*s have no known price, so their cost cannot be held to limit %s. The operators can "
                                      "add `price` to this path under passthrough.", SLICE_FMT(s->alias->name), s->budget.tight[BUDGET_USD].limit));
    return false;
}
