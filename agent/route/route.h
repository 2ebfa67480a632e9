/* Route: from the model a client names to the provider groups that will be tried.
 *
 * The table is built from the configuration, never changes while in force and belongs to the caller. An alias has an ordered
 * list of targets; those that cannot serve this request (a lacking feature, too small a context window, not this endpoint, no valid
 * key) are passed over; the first two that remain become primary and fallback. Selecting allocates nothing and cannot fail but by refusal. */
#ifndef TOLLGATE_ROUTE_ROUTE_H
#define TOLLGATE_ROUTE_ROUTE_H

#include "request.h"

struct route_target {
    struct target target;
    unsigned lacks;         /* ask_feature bits this target cannot serve */
    unsigned endpoints;     /* bit (1 << enum endpoint) for each one served; 0 = all */
    int64_t context_window; /* tokens, prompt and output together; 0 = unknown */
    bool drained;           /* set aside by an operator: used only when no other target is left */
};

struct route_alias {
    struct slice name; /* what clients put into "model" */
    const struct route_target *targets;
    size_t target_count;
};

struct route_table {
    const struct route_alias *aliases;
    size_t alias_count;
};

/* What a choice depends on besides the alias. */
struct route_query {
    struct slice model;
    enum endpoint endpoint;
    unsigned features;  /* ask_feature bits */
    int64_t input;      /* tokens; -1 when not counted yet: context windows are then not looked at */
    bool (*usable)(const void *user, const struct target *t); /* NULL: all are. False: there is no valid key for it */
    const void *user;
};

struct route_choice {
    const struct route_alias *alias;
    const struct route_target *primary;
    const struct route_target *fallback; /* NULL: none */
};

/* The alias of that name; NULL when there is none. Names are compared byte by byte. */
const struct route_alias *route_find(const struct route_table *table, struct slice model);

/* True with `out` filled. False with `refusal` filled: 404 model_not_found (the message names the model asked for, cut to 64 bytes,
 * and no other), or 400 when the alias exists but no target can serve this request (context_length_exceeded, or
 * unsupported_feature naming what is lacking), or 503 provider_credentials_unavailable when one could but none of those has a valid
 * key. The message lives in `arena`. */
bool route_select(const struct route_table *table, const struct route_query *query, struct arena *arena,
                  struct route_choice *out, struct refusal *refusal) __attribute__((warn_unused_result));

#endif
