#include "manage/control.h"

#include "admin/rpc_put.h"
#include "agent.h"
#include "manage/archiving.h"
#include "base/clock.h"
#include "manage/booking.h"
#include "budget/budget.h"
#include "manage/explain.h"
#include "manage/following.h"
#include "manage/watching.h"
#include "access/gateway_keys.h"
#include "decide/inflight.h"
#include "manage/keys_view.h"
#include "ledger/ledger.h"
#include "access/revoking.h"
#include "outcome/routing.h"
#include "runtime.h"
#include "tokens/estimate.h"
#include "tokens/learn.h"

#include <signal.h>
#include <string.h>

enum { ACCOUNTS_PER_STEP = 512 };

static const char *call_ping(void *user, const msgpack_object *params, msgpack_packer *p)
{
    (void)user, (void)params;
    rpc_put_name(p, "pong");
    return NULL;
}

static void put_counters(msgpack_packer *p, struct agent *a)
{
    struct agent_counters *c = &a->counters;

    rpc_put_name(p, "requests");
    msgpack_pack_map(p, 9);
    rpc_put_int(p, "decisions", (int64_t)atomic_load(&c->decisions));
    rpc_put_int(p, "allowed", (int64_t)atomic_load(&c->allowed));
    rpc_put_int(p, "denied", (int64_t)atomic_load(&c->denied));
    rpc_put_int(p, "settled", (int64_t)atomic_load(&c->settled));
    rpc_put_int(p, "expired", (int64_t)atomic_load(&c->expired));
    rpc_put_int(p, "corrected", (int64_t)atomic_load(&c->corrected));
    rpc_put_int(p, "unanswered", (int64_t)atomic_load(&c->abandoned));
    rpc_put_int(p, "unknown_records", (int64_t)atomic_load(&c->unknown_records));
    rpc_put_int(p, "remembered", (int64_t)inflight_count(a->inflight));
}

static void put_haproxy(msgpack_packer *p, struct agent *a)
{
    struct agent_counters *c = &a->counters;

    rpc_put_name(p, "haproxy");
    msgpack_pack_map(p, 5);
    rpc_put_int(p, "spop_heard_us", atomic_load(&c->spop_heard_us));
    rpc_put_int(p, "ring_heard_us", atomic_load(&c->ring_heard_us));
    rpc_put_int(p, "tap_heard_us", atomic_load(&c->tap_heard_us));
    rpc_put_int(p, "ring_connections", atomic_load(&c->ring_connections));
    rpc_put_int(p, "tap_connections", atomic_load(&c->tap_connections));
}

static void put_ledger(msgpack_packer *p, struct agent *a)
{
    struct ledger_status s;

    ledger_status(a->ledger, &s);
    rpc_put_name(p, "ledger");
    msgpack_pack_map(p, 9);
    rpc_put_text(p, "state", s.failing ? SLICE_LIT("failing") : SLICE_LIT("ok"));
    rpc_put_text(p, "last_error", slice_cstr(s.error));
    rpc_put_int(p, "queued", (int64_t)s.queued);
    rpc_put_int(p, "retrying", (int64_t)s.retrying);
    rpc_put_int(p, "batches", (int64_t)s.batches);
    rpc_put_int(p, "rows", (int64_t)s.rows);
    rpc_put_int(p, "last_commit_us", s.last_commit_us);
    rpc_put_int(p, "max_commit_us", s.max_commit_us);
    rpc_put_int(p, "file_bytes", s.file_bytes);
}

static void put_issuers(msgpack_packer *p, const struct runtime *r)
{
    struct identity_issuer_state s;
    size_t n = 0;

    while (identity_store_state(r->identity, n, clock_wall_us(), &s))
        n++;
    rpc_put_name(p, "issuers");
    msgpack_pack_array(p, n);
    for (size_t i = 0; i < n && identity_store_state(r->identity, i, clock_wall_us(), &s); i++) {
        msgpack_pack_map(p, 5);
        rpc_put_text(p, "issuer", slice_cstr(s.issuer));
        rpc_put_text(p, "state", s.usable ? SLICE_LIT("ok") : SLICE_LIT("no usable keys"));
        rpc_put_int(p, "keys", (int64_t)s.keys);
        rpc_put_int(p, "fetched_us", s.fetched_us);
        rpc_put_int(p, "failures", (int64_t)s.failures);
    }
}

static void put_budget(msgpack_packer *p, struct agent *a)
{
    struct budget_stats b;

    budget_stats_get(a->budget, &b);
    rpc_put_name(p, "budget");
    msgpack_pack_map(p, 7);
    rpc_put_int(p, "accounts", (int64_t)b.accounts);
    rpc_put_int(p, "holds", (int64_t)b.holds);
    rpc_put_int(p, "refused", (int64_t)b.refused);
    rpc_put_int(p, "clamped", (int64_t)b.clamped);
    rpc_put_int(p, "overruns", (int64_t)b.overruns);
    rpc_put_int(p, "overrun_nano", b.overrun_nano);
    rpc_put_int(p, "double_ends", (int64_t)b.double_ends);
}

static const char *call_status(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct runtime *r = agent_runtime(a);

    (void)params;
    msgpack_pack_map(p, 11);
    rpc_put_text(p, "version", slice_cstr(TOLLGATE_VERSION));
    rpc_put_int(p, "uptime_s", (clock_wall_us() - a->started_us) / 1000000);
    rpc_put_text(p, "config", slice_cstr(a->config_file));
    rpc_put_text(p, "prices", slice_cstr(price_table_hash(runtime_prices(r, clock_wall_us())->table)));
    rpc_put_int(p, "workers", a->worker_count);
    put_counters(p, a);
    put_haproxy(p, a);
    put_ledger(p, a);
    put_budget(p, a);
    put_issuers(p, r);
    rpc_put_name(p, "credentials");
    keys_pack(r, p);
    runtime_unref(r);
    return NULL;
}

static void put_view(msgpack_packer *p, const struct budget_view *v)
{
    msgpack_pack_map(p, 12);
    rpc_put_text(p, "limit", slice_cstr(v->state.limit));
    rpc_put_text(p, "subject", v->subject);
    rpc_put_text(p, "window", slice_cstr(v->state.window));
    rpc_put_text(p, "unit", slice_cstr(budget_unit_name(v->state.unit)));
    rpc_put_text(p, "action", slice_cstr(v->action));
    rpc_put_int(p, "amount", v->state.amount);
    rpc_put_int(p, "used", v->state.used);
    rpc_put_int(p, "held", v->state.held);
    rpc_put_int(p, "left", v->state.left);
    rpc_put_int(p, "reset_us", v->state.reset_us);
    rpc_put_int(p, "forecast", v->forecast);
    rpc_put_int(p, "holds", v->holds);
}

/* Two passes over the accounts: the first only counts, for msgpack wants an array's length first. Accounts may come between the
 * two; what is too many is left out, what is missing is filled with nil. */
static const char *call_budget(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct arena *arena = arena_new(65536);
    size_t total = 0, sent = 0, cursor = 0, n = 0;
    struct budget_view *views;

    (void)params;
    if (arena == NULL)
        return "out of memory";
    do {
        arena_reset(arena, 65536);
        if (budget_list(a->budget, clock_wall_us(), clock_mono_us(), ACCOUNTS_PER_STEP, &cursor, arena, &views, &n) != 0)
            break;
        total += n;
    } while (cursor != 0);
    msgpack_pack_array(p, total);
    do {
        arena_reset(arena, 65536);
        if (budget_list(a->budget, clock_wall_us(), clock_mono_us(), ACCOUNTS_PER_STEP, &cursor, arena, &views, &n) != 0)
            break;
        for (size_t i = 0; i < n && sent < total; i++, sent++)
            put_view(p, &views[i]);
    } while (cursor != 0 && sent < total);
    for (; sent < total; sent++)
        msgpack_pack_nil(p);
    arena_free(arena);
    return NULL;
}

/* What a hold assumes for a text of this class, in millionths of its count, and whose figure that is. */
static int64_t bound_in_force(const struct token_class *c, const char **by)
{
    struct token_rules rules;

    token_rules_for_model(c->model, &rules);
    int64_t built_in = (int64_t)rules.bound_ppm * 1000000 / rules.factor_ppm;
    *by = "built-in";
    if (c->shape == LEARN_EXACT) {
        *by = "exact";
        return 1000000;
    }
    if (c->raise_ppm <= built_in && (c->lower_ppm == 0 || c->lower_ppm >= built_in))
        return built_in;
    *by = "learned";
    return c->raise_ppm > built_in ? c->raise_ppm : c->lower_ppm;
}

static void put_learned(msgpack_packer *p, const struct token_class *c)
{
    const char *by;
    int64_t bound = bound_in_force(c, &by);

    msgpack_pack_map(p, 13);
    rpc_put_text(p, "provider", c->provider);
    rpc_put_text(p, "model", c->model);
    rpc_put_text(p, "shape", slice_cstr(learn_shape_name((enum learn_shape)c->shape)));
    rpc_put_int(p, "from_tokens", learn_size_from(c->size));
    rpc_put_int(p, "observations", c->observations);
    rpc_put_int(p, "agreed_ppm", c->observations > 0 ? c->agreed * 1000000 / c->observations : 0);
    rpc_put_int(p, "p01_ppm", c->p01_ppm);
    rpc_put_int(p, "median_ppm", c->median_ppm);
    rpc_put_int(p, "p99_ppm", c->p99_ppm);
    rpc_put_int(p, "max_ppm", c->max_ppm);
    rpc_put_int(p, "bound_ppm", bound);
    rpc_put_text(p, "bound_by", slice_cstr(by));
    rpc_put_int(p, "updated_us", c->updated_us);
}

/* Two passes, as for budgets: classes may be added in between. */
static const char *call_tokens(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct token_class c;
    size_t total = 0, sent = 0, cursor = 0;

    (void)params;
    while (token_learner_next(a->learner, &cursor, false, &c))
        total++;
    msgpack_pack_array(p, total);
    for (cursor = 0; sent < total && token_learner_next(a->learner, &cursor, false, &c); sent++)
        put_learned(p, &c);
    return NULL;
}

static const char *call_reload(void *user, const msgpack_object *params, msgpack_packer *p)
{
    (void)user, (void)params;
    if (raise(SIGHUP) != 0)
        return "the reload could not be started";
    rpc_put_name(p, "reload started; the log says how it went");
    return NULL;
}

const struct rpc_method control_methods[] = {
    { "ping", call_ping }, { "status", call_status }, { "budget", call_budget }, { "tokens", call_tokens }, { "route_status", routing_status }, { "route_drain", routing_drain },
    { "route_enable", routing_enable }, { "reload", call_reload },
    { "reprice", booking_reprice }, { "close_month", booking_close_month },
    { "revoke", revoking_revoke }, { "unrevoke", revoking_unrevoke }, { "revocations", revoking_list },
    { "key_create", gateway_keys_create }, { "key_rotate", gateway_keys_rotate }, { "key_revoke", gateway_keys_revoke }, { "keys", gateway_keys_list },
    { "explain", explain_request }, { "events", following_events }, { "top", watching_top },
    { "archive", archiving_start }, { "archive_status", archiving_status }, { NULL, NULL },
};
