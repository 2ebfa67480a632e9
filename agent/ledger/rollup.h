/* Roll-ups: sums over settled and refused requests and corrections, by quarter of an hour, day and month. Writer thread only.
 *
 * They hold the requests with ids up to `rolled` (ledger_note). A change to a newer one costs nothing here: readers sum what is newer
 * from the rows themselves (view unrolled), and once there are enough, a chunk of them is read once and added, each cell written
 * once, in the transaction that moves `rolled`. A change to an older one is added in its own transaction. So roll-ups and what is
 * newer equal the rows in every snapshot. */
#ifndef TOLLGATE_LEDGER_ROLLUP_H
#define TOLLGATE_LEDGER_ROLLUP_H

#include "ledger/names.h"

enum rollup_sum {
    SUM_SETTLED, SUM_DENIED, SUM_CORRECTIONS, SUM_TOKENS /* eight, in the order of struct token_usage */, SUM_COST = SUM_TOKENS + 8, SUM_SAVED,
    SUM_DISCOUNT, SUM_CACHE_ANSWERS, SUM_PROMPT_SAVED, SUM_FALLBACKS, SUM_FALLBACK_COST, SUM_COUNTED, SUM_COUNTED_COST, SUM_BOUNDED,
    SUM_BOUNDED_COST, SUM_UNCHARGED, SUM_CORRECTION_COST,
    SUMS
};

struct rollup_change {
    int64_t request;    /* its id */
    int64_t started_us; /* of the request */
    int64_t account_us; /* the moment the sums count for */
    int64_t who, target;
    int64_t cost_before, cost_after; /* of the request with corrections, nano-dollars; both 0: costs nothing */
    struct slice deny_reason;        /* when SUM_DENIED is 1 */
    int http_status;
    int64_t sums[SUMS];
};

struct rollup;

/* `lag`: how many of the newest ids are left to readers; `chunk`: how many are added at a time. NULL: sqlite3_errmsg, or no memory. */
struct rollup *rollup_new(sqlite3 *db, struct names *names, int64_t lag, int64_t chunk) __attribute__((warn_unused_result));
/* NULL is allowed. */
void rollup_free(struct rollup *u);
/* A row with this id was inserted. */
void rollup_seen(struct rollup *u, int64_t id);
/* Is a change to this request wanted? False: its row says all. */
bool rollup_wants(struct rollup *u, int64_t id);
/* Of a request that rollup_wants. SQLITE_OK or SQLite's error. */
int rollup_add(struct rollup *u, const struct rollup_change *c) __attribute__((warn_unused_result));
/* Before the commit: writes what was added. */
int rollup_flush(struct rollup *u) __attribute__((warn_unused_result));
/* How many chunks wait to be taken in. */
int64_t rollup_due(const struct rollup *u);
/* Takes in one, in a transaction of its own. */
int rollup_take_chunk(struct rollup *u) __attribute__((warn_unused_result));
/* Takes in everything up to `id`, however new: before rows are moved out. */
int rollup_take_in(struct rollup *u, int64_t id) __attribute__((warn_unused_result));
/* After a rollback. */
void rollup_forget(struct rollup *u);

/* What the columns of a request's row add to the sums; known_by as in enum known_by. */
struct rollup_figures {
    int64_t known_by, cost_nano, saved_nano, discount_nano, prompt_saved_nano;
    int64_t tokens[8];
    bool denied, fallback_answer; /* answered by the fallback group, and not with an error */
};
void rollup_sums(const struct rollup_figures *f, int64_t sums[SUMS]);

/* Start, in seconds since 1970, of the UTC month that holds `seconds`. */
int64_t rollup_month(int64_t seconds);

#endif
