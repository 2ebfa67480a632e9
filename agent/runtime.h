/* Runtime: everything a configuration turns into, immutable, shared by threads and counted.
 *
 * A request keeps the runtime it started with, so a reload changes nothing under its feet. The control thread builds it and, once
 * the last reference is gone, takes it apart (its identity store and credential store belong to that thread's loop). */
#ifndef TOLLGATE_RUNTIME_H
#define TOLLGATE_RUNTIME_H

#include "access/access_policy.h"
#include "config/config_prices.h"
#include "credential/credential.h"
#include "identity/identity.h"
#include "price/price.h"
#include "route/route.h"
#include "tokens/estimate.h"

#include <stdatomic.h>

struct agent;
struct http_client;

struct breaker;
struct rewrite_member;

struct runtime_target {
    const struct config_provider *provider;
    struct breaker *breaker;         /* the agent's; NULL: memory was out, it is always tried */
    const struct rewrite_member *drop; /* members of the body that are left out */
    size_t drop_count;
    uint16_t mark;                   /* its name in route/affinity.h */
    uint32_t counts_as;              /* index of the alias' first target that counts tokens by the same rules */
    const struct model_price *price; /* of runtime.routed; NULL: it does not have it */
    struct token_rules rules;
    const struct tokenizer *tokenizer;
};

struct runtime_model {
    const struct config_model *config;
    struct runtime_target *targets;  /* in the order of the route's targets */
};

struct runtime {
    atomic_uint references;
    struct agent *agent;
    struct config *config;
    struct arena *arena;
    struct identity_store *identity;
    struct credential_store *credentials;
    struct access_policy *access;     /* NULL: none configured */
    struct config_price_step *prices; /* runtime_prices says which holds when */
    unsigned prices_count;
    const struct price_table *routed; /* that was in force when this runtime was made: routes and targets are built from it */
    struct route_table routes;
    struct runtime_model *models;     /* in the order of routes.aliases */
    struct runtime_zone *zones;       /* of the conditions */
    struct runtime *retired_next;
};

/* Takes `config` over when it succeeds. `previous` may be NULL. The result has one reference. NULL with a reason: a credential or a
 * key file that cannot be read, say. Control thread. */
struct runtime *runtime_new(struct agent *agent, struct config *config, struct ev_loop *loop, struct http_client *http,
                            struct runtime *previous, char *why, size_t why_size) __attribute__((warn_unused_result));
struct runtime *runtime_ref(struct runtime *r);
/* Any thread; NULL is allowed. The last reference hands the runtime to the control thread. */
void runtime_unref(struct runtime *r);
/* Control thread. */
void runtime_free(struct runtime *r);

/* The step in force at `wall_us`. */
const struct config_price_step *runtime_prices(const struct runtime *r, int64_t wall_us);

/* What belongs to a target that route_select chose. */
const struct runtime_model *runtime_model_of(const struct runtime *r, const struct route_alias *alias);
const struct runtime_target *runtime_target_of(const struct runtime *r, const struct route_alias *alias,
                                               const struct route_target *target);

#endif
