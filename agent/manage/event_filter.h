/* Which events somebody wants to see, and how they are shown: the same for those the agent remembers and for those the ledger knows. */
#ifndef TOLLGATE_EVENT_FILTER_H
#define TOLLGATE_EVENT_FILTER_H

#include "observe/event.h"

#include <msgpack.h>

struct event_filter {
    struct slice team, user, model /* as asked for, or served */, provider, request, kind, outcome; /* p NULL: any */
    int64_t min_cost_nano; /* of settlements; -1: any event */
};
#define EVENT_FILTER_ANY ((struct event_filter){ .min_cost_nano = -1 })

/* One wish by its member's name; the text must outlive the filter. False: there is no such name, or the value is wrong. */
bool event_filter_set(struct event_filter *f, struct slice name, struct slice value) __attribute__((warn_unused_result));
bool event_filter_passes(const struct event_filter *f, const struct event *e);
/* A whole number of 0 or more. */
bool event_filter_number(struct slice text, int64_t *out) __attribute__((warn_unused_result));
/* A map: at_us, event, ledger_id when it has a row, and what is known of event_fields. */
void event_put(msgpack_packer *p, const struct event *e);

#endif
