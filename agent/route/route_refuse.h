/* Why a target cannot serve a request, and what the client is told when none can. Private to route.c and route_refuse.c. */
#ifndef TOLLGATE_ROUTE_ROUTE_REFUSE_H
#define TOLLGATE_ROUTE_ROUTE_REFUSE_H

#include "route/route.h"

/* Ordered by how much the client can do about it: what it is told is the last of these that any target came to. */
enum route_obstacle {
    OBSTACLE_CONDITION, /* `when` does not hold */
    OBSTACLE_ENDPOINT,
    OBSTACLE_FEATURE,
    OBSTACLE_MEMBER,
    OBSTACLE_SIZE,
    OBSTACLE_KEY,
    OBSTACLE_NONE
};

/* What the prompt counts for this target; -1: not counted. */
int64_t route_input(const struct route_query *q, const struct route_fact *f);
enum route_obstacle route_obstacle(const struct route_table *table, const struct route_target *t, const struct route_query *q,
                                   const struct route_fact *f);

void route_refuse_unknown(struct slice model, struct arena *arena, struct refusal *r);
void route_refuse_all(const struct route_table *table, const struct route_alias *alias, const struct route_query *q,
                      const struct route_fact *facts, struct arena *arena, struct refusal *r);

#endif
