/* Settlement: what becomes of a hold when it is known what the request did.
 *
 * Two channels tell: the tap's record (usage, text, times; one for each response that a provider began) and the log line (one for
 * each request, whatever happened). The record decides; the line alone settles what has no record, after a short wait for one. What
 * is heard of by neither expires to its bound, and is corrected when a record comes after all. All on the control thread, except
 * settlement_abandon. */
#ifndef TOLLGATE_SETTLEMENT_H
#define TOLLGATE_SETTLEMENT_H

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct inflight;
struct settle_line;
struct settle_record;

/* `done` is called on the control thread once the record is in the ledger, or will never be: the sender may then forget it. It may be
 * called before settlement_record returns. */
void settlement_record(struct agent *a, const struct settle_record *r, void (*done)(void *user), void *user);
void settlement_line(struct agent *a, const struct settle_line *l);
/* Any thread: the answer to HAProxy was never given, so no provider saw the request. `outcome` is static. */
void settlement_abandon(struct agent *a, struct inflight *f, const char *outcome);
/* Any thread: the gateway answers this open request itself, with 200, and no provider is asked. It costs nothing and counts as a request.
 * To be called before the answer is given. `outcome` is static. */
void settlement_answered(struct agent *a, struct inflight *f, const char *outcome);
/* Every second: lines whose record did not come, holds that expired, entries that have lingered. All by the monotonic clock: a wall
 * clock that is set ends nothing early and keeps nothing open. */
void settlement_tick(struct agent *a, int64_t mono_us);

#endif
