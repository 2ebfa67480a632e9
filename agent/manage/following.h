/* `tollgatectl tail`: events out of the recent ones, a step at a time. The follower keeps the cursor; what it comes for too late is counted
 * as lost, so that nobody who reads slowly costs the agent anything. Control thread. */
#ifndef TOLLGATE_FOLLOWING_H
#define TOLLGATE_FOLLOWING_H

#include <msgpack.h>

/* Parameters are texts "name=value": boot and cursor of the last answer (none: from now on), since_us (wall clock), and filters
 * (event_filter_set). Answers {boot, cursor, lost, more, reaches, begins_us, ledger, events: [...]}: `reaches` 0 when since_us is before
 * begins_us, the first instant of which every event is remembered; `ledger` is the file that knows of earlier ones. */
const char *following_events(void *user, const msgpack_object *params, msgpack_packer *p);

#endif
