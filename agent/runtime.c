#include "runtime.h"

#include "agent.h"
#include "base/clock.h"
#include "config/config_credential.h"
#include "config/config_map.h"
#include "runtime_routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    r->prices = config_price_steps(config, &r->prices_count, why, why_size);
    if (r->prices == NULL)
        goto fail;
    r->routed = runtime_prices(r, clock_wall_us())->table;
    if (!runtime_routes_build(r, why, why_size))
        goto fail;
    struct credential_options *credentials = config_credentials(config, r->arena, &count);
    r->credentials = credential_store_new(credentials, count, previous != NULL ? previous->credentials : NULL, why, why_size);
    if (r->credentials == NULL)
        goto fail;
    if (credential_store_start(r->credentials, loop, http) != 0) {
        snprintf(why, why_size, "out of memory");
        goto fail;
    }
    if (config->access != NULL && (r->access = access_policy_new(config, why, why_size)) == NULL)
        goto fail;
    struct identity_options identity = config_identity(config, r->arena);
    r->identity = identity_store_new(&identity, loop, http, previous != NULL ? previous->identity : NULL, why, why_size);
    if (r->identity == NULL)
        goto fail;
    runtime_breakers_set(r);
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
    runtime_zones_free(r);
    access_policy_free(r->access);
    config_price_steps_free(r->prices, r->prices_count);
    arena_free(r->arena);
    config_free(r->config);
    free(r);
}

const struct config_price_step *runtime_prices(const struct runtime *r, int64_t wall_us)
{
    return config_price_step_at(r->prices, r->prices_count, wall_us);
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
