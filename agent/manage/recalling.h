/* Recalling: events that nobody remembers any more, made again of what the ledger knows: the decision of each request that has a row, its
 * settlement, and corrections that came late. */
#ifndef TOLLGATE_RECALLING_H
#define TOLLGATE_RECALLING_H

#include "ledger/read.h"
#include "observe/event.h"

/* The ledger has the start of a request and what its stages took, so at_us is a little early. No trace id, and decision_us -1. The event is
 * valid during the call; false ends it. */
typedef bool recalling_fn(void *user, const struct event *e);

/* Events from since_us to just before until_us by time, of requests that started RECALLING_EARLIER_US before at most. Blocks. Reads in pages,
 * each a transaction of its own: a slow `fn` keeps nothing of the ledger, and memory is for one page and what is settled after it. 0, or
 * -1: ledger_reader_error, or memory is out. */
int recalling_events(struct ledger_reader *r, int64_t since_us, int64_t until_us, recalling_fn *fn, void *user) __attribute__((warn_unused_result));

#define RECALLING_EARLIER_US INT64_C(3600000000)

#endif
