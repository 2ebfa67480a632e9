/* tollgatectl tail: what of a time before the agent's memory the ledger tells. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_TAIL_H
#define TOLLGATE_ADMIN_TOLLGATECTL_TAIL_H

#include "manage/event_filter.h"

/* What was shown last of the ledger, so that it is not shown again as the agent's. */
struct tail_shown;

struct tail_shown *tail_shown_new(void) __attribute__((warn_unused_result));
void tail_shown_free(struct tail_shown *s);
/* `event` as event_put packs it. */
bool tail_shown_has(const struct tail_shown *s, const msgpack_object *event);

/* False: enough. */
typedef bool tail_show_fn(void *user, const msgpack_object *event);
/* The ledger's events from since_us to just before until_us that pass `wanted`, by time. False with a reason. */
bool tail_recall(const char *ledger, int64_t since_us, int64_t until_us, const struct event_filter *wanted, struct tail_shown *shown,
                 tail_show_fn *show, void *user, char *why, size_t why_size) __attribute__((warn_unused_result));

#endif
