/* An event as names and values: what the log, the journal and `tollgatectl tail` show. */
#ifndef TOLLGATE_OBSERVE_EVENT_FIELDS_H
#define TOLLGATE_OBSERVE_EVENT_FIELDS_H

#include "base/log.h"
#include "observe/event.h"

enum { EVENT_FIELDS_MAX = 40 };

/* Fills `out`, whose texts are the event's; returns how many. What is not known is left out. */
size_t event_fields(const struct event *e, struct log_field out[EVENT_FIELDS_MAX]);

#endif
