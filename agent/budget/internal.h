/* Inside the budget engine: limits as compiled from their options, accounts, holds. Everything is guarded by struct budget.lock; functions
 * here expect it held unless they say otherwise. */
#ifndef TOLLGATE_BUDGET_INTERNAL_H
#define TOLLGATE_BUDGET_INTERNAL_H

#include "budget/budget.h"
#include "budget/zone.h"

#include <pthread.h>

enum budget_level {
    LEVEL_ORGANIZATION, LEVEL_TEAM, LEVEL_USER, LEVEL_APPLICATION, LEVEL_COST_CENTER, LEVEL_ALIAS, LEVEL_GLOBAL, LEVEL_KEY, LEVEL_KEY_BUDGET,
    LEVEL_MODEL, LEVEL_PROVIDER,
    LEVEL_COUNT
};
/* A request's values: one for each level, and the fallback's model and provider behind them. */
enum { VALUE_COUNT = LEVEL_COUNT + 2, SCOPES_MAX = 1 + BUDGET_WITHIN_MAX };

enum budget_kind { KIND_CALENDAR, KIND_ROLLING, KIND_TOTAL, KIND_BUCKET, KIND_CONCURRENT };
enum budget_action { ACTION_HARD, ACTION_SOFT, ACTION_DOWNGRADE };

/* ---- compiled limits (limit.c) ------------------------------------------------------------------------------------------ */

struct pattern {
    char *p;
    size_t n;
    bool prefix;
};

struct scope {
    enum budget_level level;
    bool any, shared;
    struct pattern *patterns;
    unsigned count;
};

struct limit {
    /* What makes a limit the same limit over a reload. */
    char name[BUDGET_NAME_MAX + 1];
    enum budget_unit unit;
    enum budget_kind kind;
    enum budget_calendar calendar;
    char zone_name[101];
    int64_t roll_us, slot_us; /* KIND_ROLLING: the window, and a sub-slot; ring_len = sub-slots + 1 */
    uint32_t ring_len;
    struct scope scopes[SCOPES_MAX];
    unsigned scope_count;
    bool by_target; /* some scope is model or provider */
    /* What may change. */
    int64_t amount;            /* KIND_BUCKET: its size */
    int64_t refill, period_us; /* KIND_BUCKET: refill units each period_us */
    int64_t fill_us;           /* KIND_BUCKET: from empty to full */
    enum budget_action action;
    char downgrade_to[BUDGET_NAME_MAX + 1];
    int thresholds[BUDGET_THRESHOLDS_MAX];
    int64_t passes[BUDGET_THRESHOLDS_MAX]; /* the use at which each is passed; at least 1 */
    unsigned threshold_count;
    int64_t clamp_floor;
    /* State. */
    struct budget_zone *zone;
    int64_t start_us, end_us; /* current calendar window */
    uint64_t seed;            /* of account hashes */
    uint64_t accounts;
    bool loading;             /* books, but is not in force */
    bool retired;             /* gone from the options; lives until its last account goes */
    bool kept;                /* scratch for budget_reload */
    struct limit *next_retired;
};

/* NULL when the limit is wrong, with `why`. Needs no lock. */
struct limit *limit_compile(const struct budget_limit *o, const char *zoneinfo, char *why, size_t why_size);
void limit_free(struct limit *l);
/* Computes `passes`. */
void limit_set_passes(struct limit *l);
bool limit_same(const struct limit *a, const struct limit *b);
const char *limit_window_name(const struct limit *l);
const char *budget_level_name(enum budget_level level);
const char *budget_action_name(enum budget_action action);
/* Fed by events rather than 15-minute slots. */
bool limit_is_fine(const struct limit *l);
bool limit_has_alias(const struct limit *l);
bool limit_needs_load(const struct limit *l);

/* ---- accounts (account.c) ----------------------------------------------------------------------------------------------- */

struct slot {
    int64_t start, committed, held;
};

struct account {
    struct account *next; /* in its hash chain */
    uint64_t hash;
    struct limit *limit;
    uint32_t holds;       /* open entries that point here */
    uint32_t crossed;     /* bit i: thresholds[i] was reported in this window */
    int64_t start, end;   /* calendar window; rolling: start of the newest slot */
    int64_t committed, held;
    int64_t previous_start, previous_end, previous; /* calendar: the window before; previous_start INT64_MIN: unknown */
    int64_t level, part;  /* bucket: whole units, and the remainder of the refill in units * period_us */
    int64_t mono;         /* bucket: refilled up to here; while replaying, in wall time */
    bool replaying;       /* bucket being loaded */
    struct slot *ring;    /* rolling: ring_len */
    uint32_t key_len;
    char key[];           /* for each scope: 4 bytes of length, then the value */
};

struct values {
    struct slice v[VALUE_COUNT];
    uint64_t hash[VALUE_COUNT]; /* 0: not computed yet */
    int legs;                   /* 1, or 2 with a fallback */
};

void values_fill(struct values *v, const struct budget_subjects *s);
/* Which of the values a scope at `level` sees for leg 0 (primary) or 1 (fallback). */
static inline int values_index(enum budget_level level, int leg)
{
    return (int)level + (level >= LEVEL_MODEL && leg ? 2 : 0);
}
bool limit_matches(const struct limit *l, const struct values *v, int leg);

struct account *account_find(struct budget *b, struct limit *l, struct values *v, int leg);
/* Finds or creates; NULL when memory or max_accounts is out. The account is rolled to the current window. */
struct account *account_get(struct budget *b, struct limit *l, struct values *v, int leg);
/* Moves windows to b->wall, refills buckets to b->mono. */
void account_roll(struct budget *b, struct account *a);
/* Frees idle accounts in `buckets` chains. */
void account_sweep(struct budget *b, size_t buckets);
void account_text(const struct account *a, char *buf, size_t size);
void accounts_free(struct budget *b);

int64_t account_used(const struct account *a);  /* what thresholds look at */
int64_t account_avail(const struct account *a); /* what a hold may take; may be negative */
/* The window a hold decided at `at_us` belongs to; stored with it. */
int64_t account_window_at(const struct budget *b, const struct account *a, int64_t at_us);
void account_hold(struct account *a, int64_t window, int64_t amount);
/* Ends a hold of `amount` with `actual`; false when its window had gone. */
bool account_settle(struct account *a, int64_t window, int64_t amount, int64_t actual);
void account_commit(struct account *a, int64_t window, int64_t amount);
void account_bucket_refill(struct account *a, int64_t mono);
/* A limit's amount, rate or size changed from `old_amount`: what was used stays used. */
void account_resize(struct account *a, int64_t old_amount);
/* Empties the books; holds are booked again by the caller. */
void account_forget(struct budget *b, struct account *a);
void account_state(const struct budget *b, const struct account *a, struct budget_state *out);

/* ---- holds (hold.c) ------------------------------------------------------------------------------------------------------ */

enum { ENTRIES_INLINE = 10, HOLDS_PER_CHUNK = 128 };

struct entry {
    struct account *account;
    int64_t amount, window;
    unsigned legs; /* bit 0: primary, bit 1: fallback */
};

struct hold {
    uint32_t generation, index, next_free;
    bool open;
    int64_t decided_us;
    struct budget_use use;
    unsigned count, capacity;
    struct entry *entries;
    struct entry few[ENTRIES_INLINE];
    /* The subjects, for limits that a reload adds while the hold is open. */
    int legs;
    uint32_t lengths[VALUE_COUNT];
    size_t text_capacity;
    char *text;
};

/* NULL when memory is out. */
struct hold *hold_new(struct budget *b, const struct values *v);
int hold_reserve_entries(struct hold *h, unsigned count);
void hold_free(struct budget *b, struct hold *h);
struct hold *hold_find(struct budget *b, struct budget_hold id);
struct budget_hold hold_id(const struct hold *h);
void hold_values(const struct hold *h, struct values *v);
void holds_free(struct budget *b);

/* ---- loading (load.c) ---------------------------------------------------------------------------------------------------- */

/* An overrun that a bucket takes when the replay comes to its moment; a heap by `at`. */
struct overrun {
    int64_t at, amount;
    struct account *account;
};

/* ---- the engine ---------------------------------------------------------------------------------------------------------- */

enum { NOTICES_MAX = 1024 };

struct budget {
    pthread_mutex_t lock;
    int64_t wall, mono; /* high-water marks */
    bool ready;         /* loading is done */
    bool rebuilding;    /* new or rebased: open holds and events may be loaded */
    struct limit **limits;
    unsigned limit_count;
    struct limit *retired;
    char *zoneinfo;
    uint64_t seed;
    size_t max_accounts;
    int64_t hold_max_us;
    /* Accounts: linear hashing, so that growing never stops the world. */
    struct account **chains;
    size_t chain_count, chain_capacity, chain_mask, sweep_at;
    /* Holds. */
    struct hold **chunks;
    size_t chunk_count;
    uint32_t free_hold; /* index + 1 */
    struct entry *scratch; /* 2 * limit_count */
    struct overrun *overruns;
    size_t overrun_count, overrun_capacity;
    struct budget_notice *notices;
    size_t notice_first, notice_count;
    struct budget_stats stats;
};

static inline int64_t sat_add(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return b > 0 ? INT64_MAX : INT64_MIN;
    return r;
}

static inline int64_t unit_of(const struct budget_use *u, enum budget_unit unit)
{
    switch (unit) {
    case BUDGET_USD:
        return u->nano;
    case BUDGET_TOKENS:
        return u->tokens;
    default:
        return u->requests;
    }
}

/* No amount booked by a settlement or correction is larger: sums of 64 bits stay far from their end. */
#define BOOK_MAX INT64_C(100000000000000000)

static inline int64_t book_clip(int64_t v)
{
    return v > BOOK_MAX ? BOOK_MAX : v < -BOOK_MAX ? -BOOK_MAX : v;
}

void budget_clock(struct budget *b, int64_t now_us, int64_t mono_us);
/* The accounts of a request into b->scratch; *count of them. Only limits for which `only` is true; NULL: all. -1: no room. */
int budget_collect(struct budget *b, struct limit *const *limits, unsigned limit_count, struct values *v,
                   bool (*only)(const struct limit *), unsigned *count);
/* Reports thresholds newly passed. */
void budget_notice_check(struct budget *b, struct account *a);
/* Highest threshold that is passed, per cent; 0: none. */
int budget_percent(const struct account *a);
/* Makes the accounts in b->scratch (amounts filled in) entries of the hold, and books them as held. -1: memory. */
int budget_attach(struct budget *b, struct hold *h, unsigned count, int64_t decided_us);
void budget_answer_tight(const struct budget *b, unsigned count, struct budget_answer *answer);

#endif
