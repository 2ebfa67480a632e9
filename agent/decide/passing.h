/* Passing: requests to paths of `passthrough`, which go to one provider as they come. Who asks is known, access rules hold, the request
 * counts against limits on requests and, where it has a price, on money; the body is neither read nor changed.
 *
 * For all later steps such a request is one for an alias that has the route's path as its name, and one target whose model is that path
 * too. These aliases stand in the runtime behind the configured ones: no client can ask for them by name. */
#ifndef TOLLGATE_PASSING_H
#define TOLLGATE_PASSING_H

#include "decide/assess.h"

/* Puts the aliases of `passthrough` behind the configured ones, into arrays that have room for them. False: memory is out. Part of
 * runtime_routes_build. */
bool passing_build(struct runtime *r, struct route_alias *aliases) __attribute__((warn_unused_result));

/* Whether some route covers the path. Then s->ask is filled, or s->no says why not. */
bool passing_find(struct assessment *s);
/* After access was granted: alias, target, credentials, and nothing to count. */
void passing_start(struct assessment *s);
/* What the request costs: s->hold_nano; 0 where no price is known. */
void passing_price(struct assessment *s);
/* After its limits were taken: an unknown price passes no limit on money. False: refused. */
bool passing_payable(struct assessment *s);

#endif
