/* What is sampled once a second: the state of ledger, budget, issuers and the process itself. */
#include "telemetry.h"

#include "agent.h"
#include "base/clock.h"
#include "budget/budget.h"
#include "decide/inflight.h"
#include "manage/certificate_watch.h"
#include "manage/keys_view.h"
#include "ledger/ledger.h"
#include "observe/request_metrics.h"
#include "relay/relay_stream.h"
#include "runtime.h"

#include <stdlib.h>

enum { BUDGET_EVERY = 5, ACCOUNTS_PER_STEP = 64, ARENA_BYTES = 32 * 1024, LIMIT_SERIES_MAX = 1000 };

static const int64_t clock_step_us = 1000000; /* wall against monotonic clock within one round */

enum {
    BUILD, STARTED, RELOAD_GOOD, RELOAD_TIME, IN_FLIGHT, HOLDS, CLOCK_STEPS,
    LEDGER_QUEUED, LEDGER_RETRYING, LEDGER_FAILING, LEDGER_LAG, LEDGER_COMMIT, LEDGER_BATCHES, LEDGER_ROWS, LEDGER_FAILURES, LEDGER_LOST,
    LEDGER_BYTES, LEDGER_WAL_BYTES,
    BUDGET_ACCOUNTS, BUDGET_OVERRUNS, BUDGET_OVERRUN_USD, LIMIT_USED, LIMIT_HELD, LIMIT_FORECAST,
    KEYS, KEYS_AGE, KEYS_USABLE, KEYS_FAILURES,
    EXPIRED, UNKNOWN_RECORDS, UNANSWERED, RELAYED, RELAY_ENDS, PAUSES, TAP_DROPPED, SPECS
};

#define GAUGE(n, h) .name = "tollgate_" n, .help = h, .kind = METRIC_GAUGE
#define COUNTER(n, h) .name = "tollgate_" n, .help = h, .kind = METRIC_COUNTER
#define SECONDS .unit = "seconds", .decimals = 6

static const struct metric_spec specs[SPECS] = {
    [BUILD] = { GAUGE("build_info", "Always 1; the label says which version runs."), .labels = { "version" } },
    [STARTED] = { GAUGE("start_time_seconds", "When the agent started, Unix time."), SECONDS },
    [RELOAD_GOOD] = { GAUGE("config_last_reload_successful", "1 when the configuration that was loaded last is in force.") },
    [RELOAD_TIME] = { GAUGE("config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded, Unix time."),
                      SECONDS },
    [IN_FLIGHT] = { GAUGE("in_flight_requests", "Requests from their hold until a while after their settlement.") },
    [HOLDS] = { GAUGE("holds", "Holds that are open.") },
    [CLOCK_STEPS] = { COUNTER("clock_steps", "Times the wall clock moved by more than a second against the monotonic clock.") },
    [LEDGER_QUEUED] = { GAUGE("ledger_queued_operations", "Operations that wait for their commit.") },
    [LEDGER_RETRYING] = { GAUGE("ledger_retrying_operations", "Operations kept because the ledger could not be written.") },
    [LEDGER_FAILING] = { GAUGE("ledger_failing", "1 while the ledger cannot be written and requests are refused.") },
    [LEDGER_LAG] = { GAUGE("ledger_lag_seconds", "How long the oldest operation has waited for its commit."), SECONDS },
    [LEDGER_COMMIT] = { GAUGE("ledger_last_commit_seconds", "Duration of the last commit."), SECONDS },
    [LEDGER_BATCHES] = { COUNTER("ledger_batches", "Transactions committed.") },
    [LEDGER_ROWS] = { COUNTER("ledger_operations", "Operations committed.") },
    [LEDGER_FAILURES] = { COUNTER("ledger_failures", "Transactions that failed.") },
    [LEDGER_LOST] = { COUNTER("ledger_lost_operations", "Operations given up because too many were kept.") },
    [LEDGER_BYTES] = { GAUGE("ledger_file_bytes", "Size of the ledger's file."), .unit = "bytes" },
    [LEDGER_WAL_BYTES] = { GAUGE("ledger_wal_bytes", "Size of the ledger's write-ahead log."), .unit = "bytes" },
    [BUDGET_ACCOUNTS] = { GAUGE("budget_accounts", "Accounts of all limits.") },
    [BUDGET_OVERRUNS] = { COUNTER("budget_overruns", "Settlements that cost more than was held.") },
    [BUDGET_OVERRUN_USD] = { COUNTER("budget_overrun_usd", "What they cost more."), .unit = "usd", .decimals = 9 },
    [LIMIT_USED] = { GAUGE("limit_used_ratio", "Used part of a limit; accounts of users are left out."), .unit = "ratio", .decimals = 6,
                     .labels = { "limit", "subject", "window" }, .series_max = LIMIT_SERIES_MAX },
    [LIMIT_HELD] = { GAUGE("limit_held_ratio", "Part of a limit that open requests hold."), .unit = "ratio", .decimals = 6,
                     .labels = { "limit", "subject", "window" }, .series_max = LIMIT_SERIES_MAX },
    [LIMIT_FORECAST] = { GAUGE("limit_forecast_ratio", "Part of a limit that will be used when its window ends, at the pace so far."),
                         .unit = "ratio", .decimals = 6, .labels = { "limit", "subject", "window" }, .series_max = LIMIT_SERIES_MAX },
    [KEYS] = { GAUGE("identity_keys", "Usable keys of an issuer."), .labels = { "issuer" } },
    [KEYS_AGE] = { GAUGE("identity_keys_age_seconds", "Time since an issuer's keys were last fetched."), SECONDS,
                   .labels = { "issuer" } },
    [KEYS_USABLE] = { GAUGE("identity_usable", "1 when an issuer's keys may be used, 0: its people get 503."), .labels = { "issuer" } },
    [KEYS_FAILURES] = { COUNTER("identity_fetch_failures", "Fetches of an issuer's keys that failed."), .labels = { "issuer" } },
    [EXPIRED] = { COUNTER("holds_expired", "Holds charged their bound because nothing was heard of the request.") },
    [UNKNOWN_RECORDS] = { COUNTER("unknown_records", "Settlement records of requests that are not known.") },
    [UNANSWERED] = { COUNTER("unanswered_decisions", "Allowed requests whose answer HAProxy never took.") },
    [RELAYED] = { COUNTER("relay_requests", "Tries that passed the relay.") },
    [PAUSES] = { COUNTER("retry_after_waits", "Second tries that waited for a provider's short Retry-After.") },
    [TAP_DROPPED] = { COUNTER("tap_dropped_records", "Settlement records that HAProxy gave up because its queue was full.") },
    [RELAY_ENDS] = { COUNTER("relay_given_up", "Tries the relay gave up, by cause."), .labels = { "cause" } },
};

struct samples {
    struct metric *metric[SPECS], *keys[KEYS_METRICS];
    int64_t clock_offset_us, steps;
    unsigned round;
    struct arena *arena;
    struct certificate_watch *certificates;
};

static void set(struct samples *s, int metric, int64_t value)
{
    metric_set(metric_series(s->metric[metric], NULL), value);
}

struct samples *samples_new(struct metrics *m)
{
    struct samples *s = calloc(1, sizeof *s);
    bool ok = s != NULL && (s->arena = arena_new(ARENA_BYTES)) != NULL;
    struct slice version = SLICE_LIT(TOLLGATE_VERSION);

    for (int i = 0; ok && i < SPECS; i++)
        ok = (s->metric[i] = metrics_add(m, &specs[i])) != NULL;
    if (!ok || !keys_metrics_add(m, s->keys) || (s->certificates = certificate_watch_new(m)) == NULL) {
        samples_free(s);
        return NULL;
    }
    metric_set(metric_series(s->metric[BUILD], &version), 1);
    set(s, STARTED, clock_wall_us());
    samples_reloaded(s, true);
    s->clock_offset_us = clock_wall_us() - clock_mono_us();
    return s;
}

void samples_free(struct samples *s)
{
    if (s == NULL)
        return;
    certificate_watch_free(s->certificates);
    arena_free(s->arena);
    free(s);
}

void samples_reloaded(struct samples *s, bool good)
{
    set(s, RELOAD_GOOD, good);
    if (!good)
        return;
    set(s, RELOAD_TIME, clock_wall_us());
    certificate_watch_soon(s->certificates);
}

static void ledger_take(struct agent *a, struct samples *s)
{
    struct ledger_status l;

    ledger_status(a->ledger, &l);
    int64_t lag = l.oldest_mono_us > 0 ? clock_mono_us() - l.oldest_mono_us : 0;
    if (l.failing && l.retrying > 0 && clock_wall_us() - l.failing_since_us > lag)
        lag = clock_wall_us() - l.failing_since_us;
    set(s, LEDGER_QUEUED, (int64_t)l.queued);
    set(s, LEDGER_RETRYING, (int64_t)l.retrying);
    set(s, LEDGER_FAILING, l.failing);
    set(s, LEDGER_LAG, lag);
    set(s, LEDGER_COMMIT, l.last_commit_us);
    set(s, LEDGER_BATCHES, (int64_t)l.batches);
    set(s, LEDGER_ROWS, (int64_t)l.rows);
    set(s, LEDGER_FAILURES, (int64_t)l.failures);
    set(s, LEDGER_LOST, (int64_t)l.dropped);
    set(s, LEDGER_BYTES, l.file_bytes);
    set(s, LEDGER_WAL_BYTES, l.wal_bytes);
}

/* True when at least one issuer's keys may be used. */
static bool issuers_take(struct agent *a, struct samples *s)
{
    struct runtime *r = agent_runtime(a);
    struct identity_issuer_state i;
    int64_t now = clock_wall_us();
    bool usable = false;

    for (size_t n = 0; identity_store_state(r->identity, n, now, &i); n++) {
        struct slice issuer = slice_cstr(i.name != NULL ? i.name : i.issuer);
        usable = usable || i.usable;
        metric_set(metric_series(s->metric[KEYS], &issuer), (int64_t)i.keys);
        metric_set(metric_series(s->metric[KEYS_USABLE], &issuer), i.usable);
        metric_set(metric_series(s->metric[KEYS_FAILURES], &issuer), (int64_t)i.failures);
        if (i.fetched_us > 0)
            metric_set(metric_series(s->metric[KEYS_AGE], &issuer), now - i.fetched_us);
    }
    runtime_unref(r);
    for (int m = KEYS; m <= KEYS_FAILURES; m++)
        metric_sweep(s->metric[m]);
    return usable;
}

static int64_t millionths(int64_t part, int64_t whole)
{
    return whole > 0 ? (int64_t)((__int128)part * 1000000 / whole) : 0;
}

static bool of_a_user(struct slice subject)
{
    return memmem(subject.p, subject.n, "user=", 5) != NULL;
}

static void limit_take(struct agent *a, struct samples *s, const struct budget_view *v)
{
    struct slice subject = v->subject;

    if (subject.n > 5 && memcmp(subject.p, "team=", 5) == 0 && memchr(subject.p, ' ', subject.n) == NULL) {
        struct slice team = request_metrics_team(a->telemetry->requests, slice_make(subject.p + 5, subject.n - 5));
        if (slice_eq_cstr(team, "_other"))
            return;
    }
    struct slice labels[] = { slice_cstr(v->state.limit), subject, slice_cstr(v->state.window) };
    metric_set(metric_series(s->metric[LIMIT_USED], labels), millionths(v->state.used, v->state.amount));
    metric_set(metric_series(s->metric[LIMIT_HELD], labels), millionths(v->state.held, v->state.amount));
    if (v->forecast >= 0)
        metric_set(metric_series(s->metric[LIMIT_FORECAST], labels), millionths(v->forecast, v->state.amount));
}

/* In small steps: decisions wait for the budget's lock. */
static void limits_take(struct agent *a, struct samples *s)
{
    struct budget_view *views;
    size_t cursor = 0, n = 0;

    do {
        arena_reset(s->arena, ARENA_BYTES);
        if (budget_list(a->budget, clock_wall_us(), clock_mono_us(), ACCOUNTS_PER_STEP, &cursor, s->arena, &views, &n) != 0)
            break;
        for (size_t i = 0; i < n; i++)
            if (!of_a_user(views[i].subject))
                limit_take(a, s, &views[i]);
    } while (cursor != 0);
    for (int m = LIMIT_USED; m <= LIMIT_FORECAST; m++)
        metric_sweep(s->metric[m]);
}

static void budget_take(struct agent *a, struct samples *s)
{
    struct budget_stats b;

    budget_stats_get(a->budget, &b);
    set(s, HOLDS, (int64_t)b.holds);
    set(s, BUDGET_ACCOUNTS, (int64_t)b.accounts);
    set(s, BUDGET_OVERRUNS, (int64_t)b.overruns);
    set(s, BUDGET_OVERRUN_USD, b.overrun_nano);
    if (s->round++ % BUDGET_EVERY == 0)
        limits_take(a, s);
}

static void certificates_take(struct agent *a, struct samples *s)
{
    struct runtime *r = agent_runtime(a);

    certificate_watch_tick(s->certificates, r->config);
    runtime_unref(r);
}

static void clock_take(struct samples *s)
{
    int64_t offset = clock_wall_us() - clock_mono_us();

    if (llabs(offset - s->clock_offset_us) > clock_step_us)
        s->steps++;
    s->clock_offset_us = offset;
    set(s, CLOCK_STEPS, s->steps);
}

void samples_take(struct agent *a)
{
    struct samples *s = a->telemetry->samples;
    struct agent_counters *c = &a->counters;

    ledger_take(a, s);
    budget_take(a, s);
    clock_take(s);
    set(s, IN_FLIGHT, (int64_t)inflight_count(a->inflight));
    set(s, EXPIRED, (int64_t)atomic_load(&c->expired));
    set(s, UNKNOWN_RECORDS, (int64_t)atomic_load(&c->unknown_records));
    set(s, UNANSWERED, (int64_t)atomic_load(&c->abandoned));
    set(s, RELAYED, (int64_t)atomic_load(&c->relayed));
    set(s, PAUSES, (int64_t)atomic_load(&c->pauses));
    set(s, TAP_DROPPED, (int64_t)atomic_load(&c->tap_dropped));
    for (int cause = RELAY_CAUSE_NONE + 1; cause < RELAY_CAUSES; cause++) {
        struct slice word = slice_cstr(relay_cause_word(cause));
        metric_set(metric_series(s->metric[RELAY_ENDS], &word), (int64_t)atomic_load(&c->relay_ends[cause]));
    }
    keys_metrics_take(a, s->keys);
    certificates_take(a, s);
    bool keys = issuers_take(a, s);
    atomic_store(&a->telemetry->unready, (atomic_load(&a->ledger_failing) ? TELEMETRY_LEDGER : 0u) | (keys ? 0u : TELEMETRY_KEYS));
}
