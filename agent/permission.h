/* Permission: may this caller ask for this? After identity and dialect, before a route is chosen. */
#ifndef TOLLGATE_PERMISSION_H
#define TOLLGATE_PERMISSION_H

#include "assess.h"

/* False: refused, s->no says what would be allowed. */
bool permission_check(struct assessment *s) __attribute__((warn_unused_result));
/* May this caller use this alias at all, at this endpoint or (NULL) at any? For lists of models, and for a limit that wants another one. */
bool permission_alias(const struct identity *who, struct slice alias, const enum endpoint *endpoint);

#endif
