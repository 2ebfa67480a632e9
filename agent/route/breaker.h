/* Circuit breakers: one for each target (provider group and model), fed by what settlements tell of real traffic.
 *
 *   closed     all traffic. Opens on consecutive failures, on the share of failures in a window, on a high quantile of the time to the
 *              first token, or at once when the provider says Retry-After for longer than is tolerated.
 *   open       no traffic while another target is left, for a time that doubles with each opening in a row up to a limit; or for
 *              as long as Retry-After said.
 *   half open  one request a second goes there as a probe; enough successes close it, one failure opens it again.
 *
 * A drained target gets no traffic until it is enabled again. Breakers belong to the table, outlive reloads, and are never removed.
 * The control thread changes them; any thread reads state and latencies without a lock. Times: monotonic microseconds, unless a name
 * says wall. After a restart they are restored by breaker_restore. */
#ifndef TOLLGATE_ROUTE_BREAKER_H
#define TOLLGATE_ROUTE_BREAKER_H

#include "route/route.h"

#include <stdatomic.h>

enum {
    BREAKER_TABLE_MAX = 4096, /* targets ever configured in one process's life */
    BREAKER_TTFT_KEPT = 64    /* times to first token kept for the quantile */
};

/* What opens one, and for how long. All from the configuration. */
struct breaker_options {
    int failures;             /* in a row; 0: never for this reason */
    int error_percent;        /* of the requests in the window; 0: never */
    int min_requests;         /* in the window, before a share counts */
    int64_t window_us;
    int64_t ttft_us;          /* 0: never */
    int ttft_percentile;      /* 1 to 99: this share of the last BREAKER_TTFT_KEPT must be faster than ttft_us */
    int64_t open_us, open_max_us;
    int64_t retry_after_us;   /* longer ones open at once */
    int64_t retry_after_max_us; /* ones longer than this are cut to it */
    int probes;               /* successes in a row that close it */
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
const char *breaker_state_word(enum breaker_state s);

struct breaker_table;
struct breaker;

/* NULL when memory is out. */
struct breaker_table *breaker_table_new(void) __attribute__((warn_unused_result));
/* NULL is allowed. */
void breaker_table_free(struct breaker_table *t);
/* The target's breaker, made when there is none. NULL when memory is out or the table is full: the target then has none. Control thread. */
struct breaker *breaker_get(struct breaker_table *t, struct slice group, struct slice model);
/* NULL when there is none. Control thread. */
struct breaker *breaker_find(struct breaker_table *t, struct slice group, struct slice model);
/* i = 0, 1, ...; NULL behind the last. Control thread. */
struct breaker *breaker_at(struct breaker_table *t, size_t i);
/* Copied. Control thread. */
void breaker_configure(struct breaker *b, const struct breaker_options *o);

/* ---- any thread; b NULL: a target without a breaker, always usable ---- */

enum route_state breaker_route_state(const struct breaker *b, int64_t now_us);
/* One caller a second gets true for a half-open breaker. */
bool breaker_probe_take(struct breaker *b, int64_t now_us);
/* Expected time to the last of `output` tokens, as a stream or not, from what was seen, later samples weighing more; -1: nothing was
 * seen. *stale: the last sample is older than a minute. */
int64_t breaker_wait_us(const struct breaker *b, bool stream, int64_t output, int64_t now_us, bool *stale);
/* Output tokens of the usual answer; -1: nothing was seen. */
int64_t breaker_output(const struct breaker *b);

/* ---- control thread ---- */

enum breaker_outcome {
    BREAKER_GOOD,     /* the provider answered; also with an error that is the client's */
    BREAKER_FAILED,   /* no answer, 5xx, throttled, broken off */
    BREAKER_NEUTRAL   /* says nothing: the client left first */
};
/* `retry_after_us`: as the provider said; -1: it did not. True when the state changed. */
bool breaker_attempt(struct breaker *b, enum breaker_outcome outcome, int64_t retry_after_us, int64_t now_us);
/* An answer that ended well; -1 for what is not known. */
struct breaker_answer {
    bool stream;
    int64_t ttft_us, tpot_ns; /* read for streams: what is sent whole has its first byte with the last */
    int64_t total_us, output;
};
/* True when the state changed (too slow). */
bool breaker_latency(struct breaker *b, const struct breaker_answer *answer, int64_t now_us);
void breaker_drain(struct breaker *b, bool drained);
/* By an operator: closes it and forgets what it counted. */
void breaker_reset(struct breaker *b);
/* From open to half open when its time has come; the state read by other threads changes by itself. True when it did. */
bool breaker_tick(struct breaker *b, int64_t now_us);

struct breaker_view {
    struct slice group, model;  /* the table's */
    enum breaker_state state;
    bool drained;
    const char *reason;         /* why it is, or was last, open: "consecutive_failures", "error_rate", "slow", "retry_after", "probe_failed"; "" never */
    int64_t open_until_us;      /* 0: not open */
    int openings;               /* in a row */
    int failures_in_row, requests, errors; /* the last two in the window */
    int64_t ttft_us, tpot_ns, plain_us, output; /* -1 unknown; plain_us: all of an answer that is no stream */
    bool changed;               /* there is something to keep */
    bool kept;                  /* state and drain are in the ledger */
};
void breaker_view(const struct breaker *b, int64_t now_us, struct breaker_view *out);
/* What a view said goes to the ledger; then, on any thread, whether it got there. */
void breaker_keep_begin(struct breaker *b);
void breaker_keep_end(struct breaker *b, bool kept);
/* As kept: an open time that is over leaves it half open. `reason` is one of the words above; another one becomes "restored". */
void breaker_restore(struct breaker *b, const struct breaker_view *v, int64_t now_us);

/* Retry-After (RFC 9110 10.2.3): seconds, or an HTTP date against now_wall_us. -1: neither. */
int64_t breaker_retry_after_us(struct slice value, int64_t now_wall_us);

#endif
