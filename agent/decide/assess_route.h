/* Assess, the route: which targets a request goes to, as far as they depend on what else is known of it. Part of assess.h's steps.
 *
 * A choice may need counts (context windows, conditions on size, cost), and counts belong to targets. So: choose with what is known,
 * count for what was chosen, choose again, until those chosen are counted for. Each round counts by other rules than the ones before, so
 * it ends after as many rounds as the alias has kinds of counting. */
#ifndef TOLLGATE_ASSESS_ROUTE_H
#define TOLLGATE_ASSESS_ROUTE_H

#include "decide/assess.h"

/* The alias of that name from the start: nothing counted yet. False: refused, and nothing but `no` has changed. */
bool assess_route_start(struct assessment *s, struct slice alias);
/* Where nothing else is left to fall back on: the same target again, with another of its keys where there is one; else only for when it
 * refuses its key or asks for a short pause (`again`). What is passed through may not be safe to send twice: that is never more than `again`. */
void assess_route_same(struct assessment *s);
/* A target whose tokens are to be counted next; NULL: none. */
const struct runtime_target *assess_to_count(const struct assessment *s);
/* It was counted. False: refused, no target that is left can hold the request. */
bool assess_counted(struct assessment *s, const struct runtime_target *t, const struct token_estimate *count);
/* The choice stands: the conversation stays there. */
void assess_route_keep(struct assessment *s);
/* The key to put the fallback's mark under when the primary finds a conversation too long that the fallback has more room for; 0: none. */
uint64_t assess_route_longer(const struct assessment *s);

const struct token_estimate *assess_count_of(const struct assessment *s, const struct runtime_target *t);
/* The most output that a request of so many input tokens leaves room for at this target; INT64_MAX: not known. */
int64_t assess_output_room(const struct runtime_target *t, const struct route_target *r, int64_t input);

#endif
