/* Checking of a plan and what the writer needs of it in taken-apart form. For the HAProxy generator, and for whoever must know which
 * address a request will have (signing). */
#ifndef TOLLGATE_ROUTE_HAPROXY_PLAN_H
#define TOLLGATE_ROUTE_HAPROXY_PLAN_H

#include "base/slice.h"
#include "route/haproxy_config.h"

/* A provider's URL in parts; slices point into the string it was parsed from. */
struct haproxy_url {
    bool tls;
    struct slice host; /* without the brackets of an IPv6 address */
    bool host_is_address;
    bool host_is_ipv6;
    int port;
    bool port_given;
    struct slice path; /* without a trailing slash; may be empty; may hold <model> */
};

/* False with `why` set to what is wrong with it. */
bool haproxy_url_parse(const char *url, struct haproxy_url *out, char *why, size_t why_size) __attribute__((warn_unused_result));

#define HAPROXY_MODEL_MARK "<model>"
#define HAPROXY_MAX_HEADERS 16384 /* bytes of request headers let through */
#define HAPROXY_MAX_REWRITE 16384 /* tune.maxrewrite: keys and edit lists travel in headers between the tiers */
#define HAPROXY_RETRY_AFTER_MAX_MS 30000

int64_t haproxy_max_body(const struct haproxy_plan *plan);
int haproxy_first_byte(const struct haproxy_plan *plan, const struct haproxy_group *group, bool stream);
int haproxy_stall(const struct haproxy_plan *plan);
/* How long the agent may take to decide, and within that to be connected to and to greet; ms. */
int haproxy_decision(const struct haproxy_plan *plan);
int haproxy_greeting(const struct haproxy_plan *plan);
/* The longest a provider may be silent in the second tier, before or inside a response; ms. */
int haproxy_server_timeout(const struct haproxy_plan *plan);

#endif
