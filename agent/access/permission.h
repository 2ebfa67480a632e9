/* Permission: may this caller ask for this? After identity and dialect, before a route is chosen. */
#ifndef TOLLGATE_PERMISSION_H
#define TOLLGATE_PERMISSION_H

#include "decide/assess.h"

/* False: refused, s->no says what would be allowed. The prompt is not counted yet. */
bool permission_check(struct assessment *s) __attribute__((warn_unused_result));
/* The same once prompt and ceiling are known: lowers s->ceiling to what the rule allows. False: refused. */
bool permission_counted(struct assessment *s) __attribute__((warn_unused_result));
/* For explanations: the decision at `now_us` about who, client address, endpoint, model and s->estimate.input (-1: not known). A key's own
 * scope is part of it. `d->rule` is NULL when there are no rules. */
bool permission_decide(struct assessment *s, int64_t now_us, struct access_decision *d);
/* What access rule `i` makes of the same, for explanations. False: there is no such rule. */
bool permission_look(const struct assessment *s, int64_t now_us, unsigned i, struct access_look *out);
/* May this caller use this alias at all, whatever the endpoint, hour and place? For lists of models. */
bool permission_alias(const struct runtime *r, const struct identity *who, const struct route_alias *alias);
/* May this request go to that alias instead? For a limit that wants another one. */
bool permission_instead(const struct assessment *s, const struct route_alias *alias);

#endif
