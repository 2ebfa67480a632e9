#include "runtime.h"

#include "agent.h"
#include "config_credential.h"
#include "config_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct config_provider *provider_find(const struct config *c, const char *name)
{
    for (unsigned i = 0; i < c->providers_count; i++)
        if (strcmp(c->providers[i].name, name) == 0)
            return &c->providers[i];
    abort(); /* config_load refused dangling names */
}

static bool target_fill(struct runtime *r, const struct config_model *m, const struct config_target *t, struct runtime_target *out,
                        struct route_target *route, char *why, size_t why_size)
{
    const struct config_provider *p = provider_find(r->config, t->provider);

    out->provider = p;
    out->price = price_lookup(r->prices, slice_cstr(p->price_as), slice_cstr(t->model), NULL);
    token_rules_for_model(slice_cstr(t->model), &out->rules);
    if (m->encoding != NULL)
        out->rules.encoding = m->encoding;
    if (out->price != NULL && out->price->context > 0)
        out->rules.window = out->price->context;
    out->tokenizer = tokenizer_set_find(r->agent->tokenizers, slice_cstr(out->rules.encoding));
    if (out->tokenizer == NULL) {
        snprintf(why, why_size, "model \"%s\": there is no encoding \"%s\"; known: o200k_base, cl100k_base, p50k_base, r50k_base, "
                 "o200k_harmony", m->name, out->rules.encoding);
        return false;
    }
    *route = (struct route_target){
        .target = { .group = slice_cstr(p->name), .provider = slice_cstr(p->price_as), .model = slice_cstr(t->model),
                    .encoding = slice_cstr(out->rules.encoding) },
        .context_window = out->price != NULL ? out->price->context : 0,
    };
    return true;
}

static bool routes_build(struct runtime *r, char *why, size_t why_size)
{
    const struct config *c = r->config;
    struct route_alias *aliases = arena_zalloc(r->arena, (c->models_count + 1) * sizeof *aliases);

    r->models = arena_zalloc(r->arena, (c->models_count + 1) * sizeof *r->models);
    if (aliases == NULL || r->models == NULL)
        return false;
    for (unsigned i = 0; i < c->models_count; i++) {
        const struct config_model *m = &c->models[i];
        struct route_target *targets = arena_zalloc(r->arena, 2 * sizeof *targets);
        size_t n = 0;
        if (targets == NULL)
            return false;
        r->models[i].config = m;
        if (!target_fill(r, m, m->primary, &r->models[i].targets[n], &targets[n], why, why_size))
            return false;
        n++;
        if (m->fallback != NULL) {
            if (!target_fill(r, m, m->fallback, &r->models[i].targets[n], &targets[n], why, why_size))
                return false;
            n++;
        }
        aliases[i] = (struct route_alias){ .name = slice_cstr(m->name), .targets = targets, .target_count = n };
    }
    r->routes = (struct route_table){ .aliases = aliases, .alias_count = c->models_count };
    return true;
}

struct runtime *runtime_new(struct agent *agent, struct config *config, struct ev_loop *loop, struct http_client *http,
                            struct runtime *previous, char *why, size_t why_size)
{
    struct runtime *r = calloc(1, sizeof *r);
    size_t count = 0;

    snprintf(why, why_size, "out of memory");
    if (r == NULL)
        return NULL;
    atomic_init(&r->references, 1);
    r->agent = agent;
    r->config = config;
    r->arena = arena_new(65536);
    if (r->arena == NULL)
        goto fail;
    r->prices = config_prices(config, why, why_size);
    if (r->prices == NULL || !routes_build(r, why, why_size))
        goto fail;
    struct credential_options *credentials = config_credentials(config, r->arena, &count);
    r->credentials = credential_store_new(credentials, count, previous != NULL ? previous->credentials : NULL, why, why_size);
    if (r->credentials == NULL)
        goto fail;
    if (credential_store_start(r->credentials, loop, http) != 0) {
        snprintf(why, why_size, "out of memory");
        goto fail;
    }
    struct identity_options identity = config_identity(config, r->arena);
    r->identity = identity_store_new(&identity, loop, http, previous != NULL ? previous->identity : NULL, why, why_size);
    if (r->identity == NULL)
        goto fail;
    return r;
fail:
    r->config = NULL; /* stays the caller's */
    runtime_free(r);
    return NULL;
}

struct runtime *runtime_ref(struct runtime *r)
{
    atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
    return r;
}

void runtime_unref(struct runtime *r)
{
    if (r != NULL && atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) == 1)
        agent_runtime_retired(r->agent, r);
}

void runtime_free(struct runtime *r)
{
    if (r == NULL)
        return;
    identity_store_retire(r->identity);
    credential_store_free(r->credentials);
    price_table_unref(r->prices);
    arena_free(r->arena);
    config_free(r->config);
    free(r);
}

const struct runtime_model *runtime_model_of(const struct runtime *r, const struct route_alias *alias)
{
    return &r->models[alias - r->routes.aliases];
}

const struct runtime_target *runtime_target_of(const struct runtime *r, const struct route_alias *alias,
                                               const struct route_target *target)
{
    return target == NULL ? NULL : &runtime_model_of(r, alias)->targets[target - alias->targets];
}
