/* Recent: the last few thousand events, for whoever follows them: the log's writer, `tollgatectl tail`.
 *
 * Writers never wait for readers. Each reader has a cursor of its own; what was overwritten before it came to read it is counted and told
 * as lost. One short lock. Any thread. */
#ifndef TOLLGATE_OBSERVE_RECENT_H
#define TOLLGATE_OBSERVE_RECENT_H

#include "observe/event.h"

enum { RECENT_EVENTS = 8192 };

struct recent;

/* NULL: out of memory. */
struct recent *recent_new(void) __attribute__((warn_unused_result));
/* NULL is allowed. */
void recent_free(struct recent *r);
void recent_put(struct recent *r, const struct event *e);
/* A cursor behind the last event. */
uint64_t recent_end(struct recent *r);
/* A cursor before the oldest event that is still there and happened at `at_us` (wall clock) or later. *overwritten: there were older ones than
 * those that are there. *oldest_us: when the oldest of these happened; 0: there is none. */
uint64_t recent_since(struct recent *r, int64_t at_us, bool *overwritten, int64_t *oldest_us);
/* Copies up to `max` events from *cursor on and moves it behind them; *lost counts those that were overwritten. A cursor of another process's
 * ring (beyond its end) is taken for one before everything. Returns the number of events. */
size_t recent_read(struct recent *r, uint64_t *cursor, struct event *out, size_t max, uint64_t *lost);
/* Waits until there is something behind `cursor`, or recent_wake was called, or `timeout_ms` have passed. */
void recent_wait(struct recent *r, uint64_t cursor, int timeout_ms);
/* Ends all waits. */
void recent_wake(struct recent *r);

#endif
