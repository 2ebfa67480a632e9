/* The ledger: one SQLite file (WAL, synchronous=FULL) that says what was allowed, refused, spent, and why.
 *
 * One writer thread owns the only writing connection. Callers hand it operations; everything queued while the previous commit ran
 * becomes one transaction (group commit). An operation's `done` runs on the writer thread AFTER the commit that holds it, or after
 * it is certain that none will: when a decision's done says LEDGER_OK the row survives kill -9 and power loss.
 *
 * What fails, and how: when a transaction fails (disk full, file locked, I/O error, read-only) every decision of it is reported
 * LEDGER_FAILED, so the caller refuses the request; settlements, attempts and corrections are kept, in order, and tried again with
 * back-off (20 ms doubling to 1 s) and with every later batch. While the ledger is failing, decisions are refused at once between
 * two tries. It recovers by itself: a probe is written even without traffic. One bad operation (LEDGER_INVALID) does not hurt the
 * others of its batch.
 *
 * The schema is sql/migrations/ and sql/views.sql, built into the program. The file is created with mode 0600; the process that has
 * it open for writing holds a flock(2) on it. Do not open(2) and close(2) the file elsewhere in this process: POSIX drops SQLite's
 * locks at the first close. Reading while it is written to needs no care: sqlite3 'file:ledger.db?mode=ro'. */
#ifndef TOLLGATE_LEDGER_LEDGER_H
#define TOLLGATE_LEDGER_LEDGER_H

#include "request.h"

#include <stdatomic.h>

struct ledger;

enum ledger_result {
    LEDGER_OK,
    LEDGER_STALE,   /* nothing changed: the row does not exist or is not in the state the operation needs (settled already) */
    LEDGER_INVALID, /* this operation can never be written (id used twice, a negative amount) */
    LEDGER_FAILED   /* not written: the ledger is failing, or closing */
};

/* Seven names that tell whose request it is. Equal ones share a row of table `who`. */
struct ledger_who {
    struct slice organization, team, user, application, cost_center, subject, issuer;
};

struct ledger_target {
    struct slice group, provider, model; /* all empty: none */
    struct slice key; /* the name of the provider's key, never the key; empty: none is sent */
};

enum ledger_state { LEDGER_OPEN, LEDGER_SETTLED, LEDGER_DENIED };

/* Limits of one operation, beyond which it is LEDGER_INVALID: 10^15 nano-dollars (a million dollars), 10^12 tokens of a kind, 1,024 bytes
 * for each name in ledger_who and ledger_target. Other texts are cut at 512 bytes. */

/* A request that was decided. OPEN: allowed, hold_nano is reserved. DENIED: refused, costs nothing. SETTLED: answered without a
 * provider (from the cache), saved_nano is what it would have cost. -1 stands for "unknown" where a figure can be. */
struct ledger_decision {
    int64_t id;              /* from ledger_next_id */
    struct slice request_id; /* HAProxy's unique-id */
    int64_t started_us;
    struct ledger_who who;
    enum endpoint endpoint;
    struct slice alias;      /* the model as asked */
    struct slice charged_as; /* the alias that limits count it for; empty: `alias` */
    bool stream;
    enum ledger_state state;
    struct slice deny_reason;
    int http_status;         /* DENIED: what the client got; else 0 */
    struct ledger_target primary, fallback;
    int64_t input_tokens, input_bound; /* counted; what the hold assumes */
    enum exactness exactness;
    int64_t output_ceiling;  /* of one choice; -1 none */
    int64_t choices;
    int64_t hold_nano, saved_nano;
    int64_t budget_left_nano; /* of the tightest money limit, when decided; -1: none applied */
    int64_t price_version;   /* price_table_id; 0 none */
    int64_t images, images_out; /* sent with it; that it may be answered with, at most */
    int64_t body_bytes;
    int32_t identity_us, tokens_us, budget_us; /* the agent's own time by stage; the commit's is known at settlement */
};

static inline struct slice ledger_charged_alias(const struct ledger_decision *d)
{
    return d->charged_as.n > 0 ? d->charged_as : d->alias;
}

struct ledger_settlement {
    int64_t id;              /* of the decision */
    int64_t settled_us;
    enum known_by known_by;  /* not KNOWN_OPEN */
    int http_status;         /* what the client got; 0 unknown */
    struct slice outcome;    /* short word: "ok", "client_abort", "upstream_cut", "expired", ... */
    struct ledger_target served;
    struct token_usage usage;
    int64_t cost_nano;
    int64_t discount_nano;      /* what list prices would have cost more */
    int64_t prompt_saved_nano;  /* what the cached input would have cost more at the full input price */
    int64_t provider_cost_nano; /* what the provider says it cost; -1 when it does not. Kept for comparison only */
    int64_t price_version;
    int64_t ttft_us, tpot_ns, total_us; /* first byte; time per output token; whole request; -1 unknown */
    int32_t attempts;
    bool fallback;
    int64_t response_bytes;
    int32_t commit_us;       /* how long the decision waited for its commit; -1 unknown */
    struct slice provider_request_id; /* the provider's own; empty: it gave none */
};

struct ledger_attempt {
    int64_t id;              /* of the decision */
    int32_t number;          /* from 1 */
    struct ledger_target target;
    int64_t started_us;
    int http_status;         /* 0: no response */
    struct slice outcome;    /* "ok", "connect_failed", "timeout", "cut", ... */
    int64_t first_byte_us, total_us; /* -1 unknown */
    struct slice provider_request_id;
};

/* Whom a settled request is charged to, and when what was booked counts. */
struct ledger_subject {
    struct ledger_who who;
    struct slice alias;
    struct ledger_target target; /* that served it, else the planned one */
    int64_t account_us;
    char *text;                  /* malloced: where the slices point */
};
void ledger_subject_clear(struct ledger_subject *s);

/* A change to a settled request, booked as a row of its own. Amounts are differences and may be negative; the sums of row and
 * corrections must not become so (LEDGER_INVALID). Booked into the 15 minutes the request started in, or, when that month is
 * closed, into those of booked_us (or of the first open instant, when booked_us lies in a closed month too). */
#define LEDGER_LATE_RECORD "late_record" /* its usage came after the hold had expired */
struct ledger_correction {
    int64_t id;              /* of the decision */
    int64_t booked_us;
    struct slice reason;     /* LEDGER_LATE_RECORD, "repriced", "invoice" */
    enum known_by known_by;  /* how the figure is known now */
    struct token_usage usage; /* differences */
    int64_t cost_nano, discount_nano; /* differences */
    int64_t price_version;
    struct ledger_subject *subject; /* NULL: nobody asks. Zeroed by the caller; filled when done says LEDGER_OK; the caller clears it */
};

/* A price table: becomes the active one. Importing a version that is there already only adds a validity from valid_from_us. With
 * valid_from_us 0 it adds none: the version is known, and the active one stays. */
struct ledger_prices {
    int64_t id;              /* price_table_id */
    struct slice hash, source;
    int64_t valid_from_us, imported_us;
    size_t count;
    const struct model_price *(*at)(const void *table, size_t i); /* called on the writer thread before done */
    size_t contracts;
    void (*contract_at)(const void *table, size_t i, struct slice *name, struct slice *terms); /* may be NULL when there are none */
    const void *table;
};

/* Freezes everything before `before_us` (start of a month, UTC). LEDGER_STALE while a request of that time is open. */
struct ledger_month_close {
    int64_t before_us, closed_us;
};

/* What was learned about the counts of one kind (shape) and size of a model's requests (table token_learned): replaces the row. The
 * figures are the caller's; `histogram` is kept as it is, up to 4,096 bytes. */
struct ledger_learned {
    struct slice provider, model;
    unsigned shape, size;
    int64_t observations, agreed, p01_ppm, median_ppm, p99_ppm, max_ppm;
    struct slice histogram;
    int64_t updated_us;
};

/* A gateway key, without the key: HMAC-SHA-256 of it. Lists have one entry a line. */
struct ledger_key {
    struct slice name, groups, models, endpoints;
    struct slice budget;     /* "$50 month" */
    struct slice secret;     /* tells which secret `hash` was made with */
    struct ledger_who who;   /* subject and issuer stay empty */
    uint8_t hash[32], previous_hash[32];
    bool has_previous;
    int64_t previous_until_s;
};

/* Who may not, or may, ask: the change and the event that says who made it (table access_event), or neither. */
struct ledger_access {
    enum { ACCESS_REVOKE, ACCESS_UNREVOKE, ACCESS_CREATE_KEY, ACCESS_ROTATE_KEY, ACCESS_EVENT /* nothing but it */ } change;
    struct slice kind, issuer, value; /* of a revocation; `value` is the id of a key */
    struct slice origin, note;        /* of a revocation */
    int64_t before_s, expires_s;      /* seconds; 0: none. expires_s also of a key */
    bool sessionless;
    struct ledger_key key;
    struct slice actor, action, detail; /* of the event; without detail it gets the note */
    int64_t at_us;
};

/* The circuit breaker of a target (table route_state): replaces the row. Figures -1: not known. */
struct ledger_route {
    struct slice group, model, state, reason;
    bool drained;
    int64_t open_until_us, openings; /* wall clock; 0 not open */
    int64_t ttft_us, tpot_ns, plain_us, output_tokens;
    int64_t updated_us;
};

/* A threshold that was passed (table alert), or what became of its report. */
struct ledger_alert {
    enum { ALERT_NEW, ALERT_SENT, ALERT_DROPPED } change;
    struct slice event;             /* random; the row's name */
    /* Of a new row. LEDGER_STALE: one with the same limit, unit, subject and percent is there since once_since_us; nothing is written. */
    bool unheard;                   /* it is not to be sent */
    struct slice limit, unit, subject, body;
    int percent;
    int64_t at_us, once_since_us;
    /* Of the others. */
    int attempts;
    int64_t ended_us;
};

enum ledger_op_kind {
    LEDGER_DECISION, LEDGER_SETTLEMENT, LEDGER_ATTEMPT, LEDGER_CORRECTION, LEDGER_PRICES, LEDGER_CLOSE_MONTH, LEDGER_LEARNED, LEDGER_ACCESS,
    LEDGER_ROUTE, LEDGER_ALERT,
    LEDGER_ERASE, LEDGER_ERASE_ALERTS /* the ledger's own, see ledger_archive */
};

/* Owned by the caller, as is everything its slices point to: all of it must stay as it is until `done` runs. `done` may free the
 * operation. It must be quick (put it on the worker's list, wake its loop) and must not call into the ledger but ledger_submit. NULL
 * `done`: nobody waits; then the memory must outlive the ledger. */
struct ledger_op {
    enum ledger_op_kind kind;
    void (*done)(struct ledger_op *op, enum ledger_result result);
    void *user;
    union {
        struct ledger_decision decision;
        struct ledger_settlement settlement;
        struct ledger_attempt attempt;
        struct ledger_correction correction;
        struct ledger_prices prices;
        struct ledger_month_close close;
        struct ledger_learned learned;
        struct ledger_access access;
        struct ledger_route route;
        struct ledger_alert alert;
        struct {
            int64_t first, last, before_us, last_correction, last_alert;
            struct slice file;
        } erase;
    };
    /* The ledger's while it has the operation. */
    struct ledger_op *next;
    enum ledger_result result;
};

struct ledger_status {
    bool failing;
    char error[160];            /* of the last failure; "" when there was none */
    int64_t failing_since_us;   /* wall clock; 0 when not failing */
    size_t queued, retrying;    /* operations not answered yet: new ones (also those being written), kept ones */
    uint64_t batches, rows, failures, dropped; /* dropped: kept operations given up because retry_max was reached or at close */
    int64_t last_commit_us, max_commit_us; /* begin to commit; max since open */
    int64_t last_batch;         /* operations in it */
    int64_t oldest_mono_us;     /* no queued operation came before; 0: none is queued */
    int64_t file_bytes, wal_bytes;
};

struct ledger_options {
    const char *file;
    int busy_ms;                /* how long a batch waits for a lock another process holds; 0: 200 */
    size_t batch_max;           /* 0: 1024 */
    size_t retry_max;           /* 0: 100,000 */
    int64_t rollup_lag, rollup_chunk; /* how many of the newest requests readers sum from the rows, and how many roll-ups take in at a time;
                                         0: 16384, 1024 */
    int64_t max_bytes;          /* the file may not grow beyond; 0: no limit but the disk's */
    /* Runs on the writer thread whenever `failing` changes. NULL: nobody asks. */
    void (*on_state)(void *user, const struct ledger_status *status);
    void *user;
};

/* Creates or migrates the file and starts the writer. NULL with a reason in `why` that says what to do: directory missing, no
 * permission, not SQLite, another program's database, made by a newer tollgate, damaged, in use by another tollgate. */
struct ledger *ledger_open(const struct ledger_options *options, char *why, size_t why_size) __attribute__((warn_unused_result));
/* Writes what is queued, tries once more what is kept, runs every outstanding done, stops the threads. NULL is allowed. Nobody may
 * submit any more. */
void ledger_close(struct ledger *l);
/* Any thread. Never blocks for I/O, never fails: the answer is `done`. Order of one thread's operations is kept. */
void ledger_submit(struct ledger *l, struct ledger_op *op);
/* Any thread. Ascending, never given out twice, also over restarts for ids that were committed. */
int64_t ledger_next_id(struct ledger *l);
void ledger_status(struct ledger *l, struct ledger_status *out);
/* The file's name as it was given to ledger_open. */
const char *ledger_file(const struct ledger *l);
/* Moves settled and refused requests that started before `before_us`, with their attempts and corrections, into `file` (created, or
 * added to), while traffic runs; roll-ups stay. Alerts of that time move too, but the newest of each limit, unit, subject and percent: it is
 * what a threshold is reported once by. Blocks for as long as it takes: not for an event loop's thread. Interrupted at any
 * instant, rows are in one of the files or in both, and the next run ends it. *moved gets the number of requests. 0, or -1 and
 * `why`. */
int ledger_archive(struct ledger *l, const char *file, int64_t before_us, int64_t *moved, char *why, size_t why_size)
    __attribute__((warn_unused_result));

/* Of a running archive, for other threads: read `moved`, set `stop` to end it (with -1) after the rows under way. */
struct ledger_progress {
    atomic_llong moved;
    atomic_bool stop;
};
/* The same with `progress`, zeroed by the caller. It must end before ledger_close is called. */
int ledger_archive_watched(struct ledger *l, const char *file, int64_t before_us, struct ledger_progress *progress, char *why, size_t why_size)
    __attribute__((warn_unused_result));

#endif
