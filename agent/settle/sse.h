/* Events of a text/event-stream (WHATWG HTML, 9.2.6), as far as payloads go: their data. Internal to this folder. */
#ifndef TOLLGATE_SETTLE_SSE_H
#define TOLLGATE_SETTLE_SSE_H

#include "base/arena.h"
#include "base/slice.h"

struct sse_event {
    struct slice data; /* data lines joined by newlines */
    bool cut;          /* the stream ended before the blank line */
};

/* Takes the next event with data off the front of *stream. 1; 0: none left; -1: memory is out. An event of one data line is not copied. */
int sse_next(struct slice *stream, struct arena *a, struct sse_event *out) __attribute__((warn_unused_result));

#endif
