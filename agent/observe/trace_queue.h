/* Queue of spans with a fixed number of places: any thread puts one in without waiting for anybody, one thread takes them out.
 *
 * A full queue takes nothing more: that is the caller's to count. */
#ifndef TOLLGATE_OBSERVE_TRACE_QUEUE_H
#define TOLLGATE_OBSERVE_TRACE_QUEUE_H

#include "observe/trace_span.h"

struct trace_queue;

/* `places` are rounded up to a power of two, at least 2. NULL: out of memory. */
struct trace_queue *trace_queue_new(unsigned places) __attribute__((warn_unused_result));
void trace_queue_free(struct trace_queue *q);
/* Any thread. False: full. */
bool trace_queue_put(struct trace_queue *q, const struct trace_span *s) __attribute__((warn_unused_result));
/* One thread. False: empty, or the oldest is still being put in. */
bool trace_queue_take(struct trace_queue *q, struct trace_span *s) __attribute__((warn_unused_result));
/* Any thread; a moment old. */
unsigned trace_queue_count(const struct trace_queue *q);

#endif
