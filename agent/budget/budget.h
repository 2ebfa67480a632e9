/* Budget: the limits engine. Money, tokens, requests and concurrent requests are held before a request is allowed and settled when its
 * cost is known; committed + held never exceeds a hard limit, at any concurrency.
 *
 * Pure arithmetic in memory: no I/O but reading zone files in budget_new and budget_reload. `now_us` (wall, UTC) and `mono_us` are
 * passed in. All functions may be called from any thread; one mutex, held for about a microsecond. A hold is a number that the engine
 * gave out; it stays valid over budget_reload and ends exactly once, by settle or release. Durability is the ledger's: after a restart
 * the caller builds a new engine from it with the load functions.
 *
 * Books by decision time: a hold belongs to the window it was taken in. Settled later, it is committed there: the new window does not
 * feel it (struct budget_view.previous and the ledger do). Windows follow the wall clock's high-water mark, buckets the monotonic
 * clock: a clock set back neither reopens a window nor refills a bucket; one set forward moves windows, and holds stay where they were. */
#ifndef TOLLGATE_BUDGET_H
#define TOLLGATE_BUDGET_H

#include "budget/options.h"
#include "request.h"

struct budget;

/* A new engine refuses everything (BUDGET_NOT_READY) until budget_load_done. NULL with a reason in `why` when the options are wrong
 * or memory is out. Options are copied. */
struct budget *budget_new(const struct budget_options *o, int64_t now_us, int64_t mono_us, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* NULL is allowed. No call may be under way. */
void budget_free(struct budget *b);

/* ---- deciding ---------------------------------------------------------------------------------------------------------- */

/* Whose accounts. `who` may lack values (see struct budget_scope). `fallback` is NULL when there is none; limits on model or provider
 * hold for both and are settled for what each really did. */
struct budget_subjects {
    const struct identity *who;
    struct slice alias;
    const struct target *primary, *fallback; /* provider and model are looked at; primary may be NULL (loads without a target) */
};

#define BUDGET_ASK_MAX INT64_C(1000000000000000) /* of one request: a million dollars, 10^15 tokens */

struct budget_use {
    int64_t nano, tokens, requests; /* never negative, but in budget_adjust and in slots being loaded */
};

/* How the hold shrinks with the output ceiling: nano = fixed_nano + output * choices * pico_per_output / 1000 (rounded up), tokens =
 * fixed_tokens + output * choices. At `ceiling` that must give the hold. */
struct budget_clamp {
    int64_t ceiling; /* output tokens of one choice that `hold` was computed with */
    int64_t floor;   /* least ceiling that is still worth it; 0: only limits with a floor of their own lower it */
    int64_t choices; /* n; >= 1 */
    int64_t fixed_nano, fixed_tokens;
    int64_t pico_per_output; /* 10^-12 dollars per output token, the dearer of primary and fallback */
};

struct budget_ask {
    struct budget_subjects subjects;
    struct budget_use hold; /* the worst case; requests is 1 in general */
    struct budget_clamp clamp;
    bool downgraded; /* downgrade limits have had their say: book on them, ask no more */
};

struct budget_hold {
    uint64_t id; /* 0: none. Not stable over a restart */
};

enum budget_verdict {
    BUDGET_ALLOWED,   /* held; answer.held says how much */
    BUDGET_CLAMPED,   /* held with a lower ceiling: answer.output_ceiling */
    BUDGET_REFUSED,   /* nothing held: answer.refused */
    BUDGET_DOWNGRADE, /* nothing held: route to answer.downgrade_to and ask again with `downgraded` */
    BUDGET_NOT_READY, /* nothing held: loading is not done */
    BUDGET_NO_ROOM,   /* nothing held: memory or max_accounts is exhausted */
    BUDGET_BAD_ASK    /* nothing held: an amount below 0 or above BUDGET_ASK_MAX */
};

struct budget_state {
    char limit[BUDGET_NAME_MAX + 1];
    const char *level;  /* static: of the limit's scope */
    const char *window; /* static: "day", "rolling", "bucket", "concurrent", ... */
    enum budget_unit unit;
    int64_t amount;     /* the limit; for a bucket its size */
    int64_t used, held; /* committed, and held by open requests; for a bucket what is missing from it */
    int64_t left;       /* amount - used - held, at least 0 */
    int64_t reset_us;   /* UTC instant at which the window ends; rolling: at which some of it comes back; bucket: at which it is full;
                           0: never or unknown (total, concurrent) */
};

struct budget_refused {
    struct budget_state state;
    int64_t asked;
    int64_t retry_after_s; /* >= 1; -1: this request can never fit, or the limit never resets */
    bool too_large;        /* more than the whole limit: asking for less is the only way */
    bool transient;        /* it would fit if open requests ended cheaper than held: a throttle, not an exhausted quota */
};

struct budget_answer {
    enum budget_verdict verdict;
    struct budget_use held;
    int64_t output_ceiling;  /* the ceiling in force: clamp.ceiling, or lower when BUDGET_CLAMPED */
    struct budget_state clamped_by; /* BUDGET_CLAMPED: the limit that asked for the lowest ceiling */
    struct budget_refused refused;  /* BUDGET_REFUSED: of all that refused, the one to wait longest for */
    unsigned refused_count;
    char downgrade_to[BUDGET_NAME_MAX + 1]; /* BUDGET_DOWNGRADE, with `downgrade_by` */
    struct budget_state downgrade_by;
    /* Soft and downgrade limits of this request past a threshold: the highest such threshold, per cent; 0: none. */
    int warn_percent;
    struct budget_state warn;
    /* For rate-limit headers: the hard limit with the least left, after this hold, by unit (BUDGET_USD .. BUDGET_CONCURRENT). */
    bool tight_known[4];
    struct budget_state tight[4];
};

/* Takes the hold from every limit that applies, or from none. `hold` is written for ALLOWED and CLAMPED, else zeroed. */
enum budget_verdict budget_reserve(struct budget *b, const struct budget_ask *ask, int64_t now_us, int64_t mono_us,
                                   struct budget_hold *hold, struct budget_answer *answer) __attribute__((warn_unused_result));

/* The limits of these subjects as they stand, holding nothing: `tight` and `warn` of the answer. ALLOWED, NOT_READY or NO_ROOM. */
enum budget_verdict budget_peek(struct budget *b, const struct budget_subjects *s, int64_t now_us, int64_t mono_us, struct budget_answer *answer);

/* What a request really cost, by who did the work. Limits on model and provider see their own part (and its `requests`: attempts);
 * all others see nano and tokens of both together, and the requests of the hold. */
struct budget_actual {
    struct budget_use primary, fallback;
};

enum budget_end {
    BUDGET_ENDED,    /* within the hold */
    BUDGET_OVERRUN,  /* booked in full, above the hold: the provider's truth. Limits may now be passed and refuse until they reset */
    BUDGET_NOT_OPEN  /* no such open hold: ended before. Nothing was booked */
};

/* Held becomes committed. For a hold whose cost is unknown pass the hold itself as primary. */
enum budget_end budget_settle(struct budget *b, struct budget_hold hold, const struct budget_actual *actual, int64_t mono_us);
/* The provider did no work and the request does not count: dollars, tokens and request all return. (An upstream failure that should
 * count as a request is settled with zeros.) */
enum budget_end budget_release(struct budget *b, struct budget_hold hold, int64_t mono_us);
/* A correction after settlement, decided at `decided_us`; may be negative. Booked where that window is still current or the one before;
 * buckets take it when it is less than hold_max_us old. */
void budget_adjust(struct budget *b, const struct budget_subjects *s, int64_t decided_us, const struct budget_use *delta, int64_t now_us,
                   int64_t mono_us);

/* ---- loading: after budget_new, budget_reload and budget_rebase --------------------------------------------------------- */

#define BUDGET_SLOT_US (INT64_C(15) * 60 * 1000000)

/* What the limits being loaded need. INT64_MAX: nothing of that kind; INT64_MIN: from the beginning. */
struct budget_lookback {
    int64_t slots_from_us;  /* settled use by 15-minute slot of the decision, from here on (budget_load_slot) */
    int64_t alias_slots_from_us; /* the same by alias (budget_load_alias_slot) */
    int64_t events_from_us; /* settled use by request, oldest first (budget_load_event): for minutes and buckets, a few hours at most */
};
void budget_lookback(struct budget *b, struct budget_lookback *out);
/* One roll-up row: what was settled of requests decided in [slot_start_us, + 15 min). Several rows per slot add up. Sorted by slot.
 * Windows that begin inside a slot count the whole of it: never too little. Only limits being loaded, too long for events and
 * without an alias in their scope take it. */
int budget_load_slot(struct budget *b, const struct budget_subjects *s, int64_t slot_start_us, const struct budget_use *use)
    __attribute__((warn_unused_result));
/* The same for limits that have one. */
int budget_load_alias_slot(struct budget *b, const struct budget_subjects *s, int64_t slot_start_us, const struct budget_use *use)
    __attribute__((warn_unused_result));
/* One settled request. `over`: the part of `use` above its hold and when it became known, NULL when none: a bucket took it at that moment.
 * (A correction is an event whose use is `over` alone.) Afterwards a bucket holds at most what it would have held without the restart. */
struct budget_over {
    struct budget_use use;
    int64_t settled_us;
};
int budget_load_event(struct budget *b, const struct budget_subjects *s, int64_t decided_us, const struct budget_use *use,
                      const struct budget_over *over) __attribute__((warn_unused_result));
/* An open hold, taken at `decided_us`: booked whatever the limits say, after all slots and events, oldest first. Only while a new engine
 * is loading: in a reload the engine knows its open holds. 0, or -1 when memory is out (all three). */
int budget_load_hold(struct budget *b, const struct budget_subjects *s, int64_t decided_us, const struct budget_use *held,
                     struct budget_hold *hold) __attribute__((warn_unused_result));
/* Puts what was loaded in force. */
void budget_load_done(struct budget *b, int64_t now_us, int64_t mono_us);

/* New limits in place of the old. A limit with the same name, scope, unit and kind of window keeps its accounts; its amount, burst,
 * action, thresholds and floor take effect at once. Any other is new: it books from now on (open holds included) and comes into force
 * with budget_load_done; *fresh says how many there are. Removed ones go when their last hold has ended. For exact books no settlement
 * may fall between this call and the reading of the ledger (reserving may go on). -1: refused with `why`, nothing changed. */
int budget_reload(struct budget *b, const struct budget_options *o, int64_t now_us, int64_t mono_us, unsigned *fresh, char *why,
                  size_t why_size) __attribute__((warn_unused_result));

/* How far `now_us` is behind the latest instant the engine has seen. While it is, windows stand still. After a clock was far ahead and
 * corrected, budget_rebase empties the books at the true time, keeps the open holds, and refuses until they are loaded again. */
int64_t budget_clock_lag(struct budget *b, int64_t now_us);
void budget_rebase(struct budget *b, int64_t now_us, int64_t mono_us);

/* ---- watching ---------------------------------------------------------------------------------------------------------- */

/* Every second or so: moves windows and frees idle accounts, a part of the table each time. */
void budget_tick(struct budget *b, int64_t now_us, int64_t mono_us);

/* A threshold passed by what was really used: once per account, threshold and window (rolling windows and buckets: again after they fell
 * below half of it). For metrics, log, webhook. After loading, those that are passed already are reported once more, but for buckets and
 * concurrency: whoever keeps what was reported leaves out what has the same limit, unit, subject and percent since once_since_us. */
struct budget_notice {
    struct budget_state state;
    char subject[1024]; /* "team=research user=ann", cut at the end */
    const char *action; /* static: hard, soft, downgrade */
    int percent;
    int64_t at_us;
    int64_t once_since_us; /* INT64_MAX: buckets and concurrency, where each notice counts */
};
/* The oldest notice not yet taken; false when there is none. 1024 are kept; more come later (budget_stats.notices_lost counts them). */
bool budget_notice_take(struct budget *b, struct budget_notice *out);

struct budget_view {
    struct budget_state state;
    struct slice subject;   /* "team=research user=ann"; in the arena */
    const char *action;     /* static */
    int64_t start_us;       /* of the window; 0: none */
    int64_t burn_per_hour;  /* used since start_us; 0 in the first minute of a window and for buckets */
    int64_t forecast;       /* used at reset_us at that rate; -1: no calendar window */
    int64_t previous;       /* used in the window before, late settlements included; -1: unknown */
    uint32_t holds;         /* open */
};
/* The limits of these subjects (for a client's own view), accounts without use included. -1 when memory is out. */
int budget_list_for(struct budget *b, const struct budget_subjects *s, int64_t now_us, int64_t mono_us, struct arena *arena,
                    struct budget_view **out, size_t *count) __attribute__((warn_unused_result));
/* All accounts, in no order, about `max` a call: start with *cursor 0, go on until it is 0 again. Accounts that come or go meanwhile may
 * be seen or not; all others exactly once, unless the table grows in between. */
int budget_list(struct budget *b, int64_t now_us, int64_t mono_us, size_t max, size_t *cursor, struct arena *arena,
                struct budget_view **out, size_t *count) __attribute__((warn_unused_result));

struct budget_stats {
    uint64_t accounts, holds; /* now */
    uint64_t reserved, clamped, refused, downgraded, settled, released;
    uint64_t overruns, double_ends, late; /* late: settled after their window had gone */
    int64_t overrun_nano, overrun_tokens;
    uint64_t evicted, notices_lost;
};
void budget_stats_get(struct budget *b, struct budget_stats *out);

#endif
