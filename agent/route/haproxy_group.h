/* The part of the generator that knows providers: one section for each group, and how their statuses travel between the tiers. The plan was
 * checked before (haproxy_plan_check). */
#ifndef TOLLGATE_ROUTE_HAPROXY_GROUP_H
#define TOLLGATE_ROUTE_HAPROXY_GROUP_H

#include "route/haproxy_plan.h"

/* Of one group, for plain answers or for streams. */
void haproxy_put_group(FILE *out, const struct haproxy_plan *plan, const struct haproxy_group *group, bool stream);
/* For the first tier: the statuses that the second one has turned into 503 become themselves again. */
void haproxy_put_statuses(FILE *out);
/* Keeps the provider's own request id in txn.tgx.rid; `converter`: what it passes on its way. */
void haproxy_put_provider_id(FILE *out, const char *converter);

#endif
