#include "decide/again.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "decide/inflight.h"
#include "decide/keys.h"
#include "runtime.h"
#include "worker.h"

#include <stdlib.h>

enum { REPLACED_MS = 300, /* a key that has just ended may be replaced so soon */ GROUP_MAX = 128, PAUSE_MAX_MS = 30000, ARENA_FIRST = 2048 };
static const double LOOK_EVERY_S = 0.005;

struct again {
    struct again *next;
    struct connection *connection; /* held */
    struct spop_ticket ticket;
    struct runtime *runtime;
    struct inflight *flight; /* NULL: not known, the agent was restarted meanwhile */
    char group[GROUP_MAX];
    struct arena *arena;     /* NULL: nothing is to be signed in a pause */
    struct http_request rq;  /* what a signature covers; in the arena */
    struct slice payload;    /* hash of the body; n 0: the request is not signed */
    uint32_t looked;         /* ticket of credential_look; 0: not asked yet */
    int64_t asked_mono_us, until_mono_us;
    bool pause;              /* nothing is asked for: the second try waits until then */
};

static void again_free(struct again *g)
{
    connection_release(g->connection);
    runtime_unref(g->runtime);
    if (g->flight != NULL)
        inflight_unref(g->flight);
    arena_free(g->arena);
    free(g);
}

static void answer(struct again *g, struct slice key)
{
    struct spop_conn *c = connection_spop(g->connection);
    struct spop_ack ack;

    spop_conn_ack_begin(c, g->ticket, &ack);
    if (key.n == 0 || !spop_ack_set_string(&ack, SPOP_TXN, SPOP_BYTES("key"), (struct spop_bytes){ .p = key.p, .n = key.n }))
        (void)spop_ack_set_bool(&ack, SPOP_TXN, SPOP_BYTES("same"), true); /* an answer without any action hangs early HAProxy 3.1 */
    spop_conn_ack_end(c, &ack);
    connection_touched(g->connection);
}

/* True when it has been answered: after the pause, or when the request is over before (its client has left), then without `done`. A hold that
 * has expired meanwhile ends no request. Nor does the end of its connection tell anything: HAProxy 3.2 may close it because the client left. */
static bool pause_look(struct again *g, bool stopping, int64_t now_us)
{
    struct spop_conn *c = connection_spop(g->connection);
    struct spop_ack ack;
    bool over = g->flight != NULL && (atomic_load(&g->flight->ended) || atomic_load(&g->flight->state) == INFLIGHT_SETTLED);

    if (!over && !stopping && now_us < g->until_mono_us)
        return false;
    if (!over && g->flight != NULL)
        atomic_store(&g->flight->pausing, false);
    spop_conn_ack_begin(c, g->ticket, &ack);
    (void)spop_ack_set_bool(&ack, SPOP_TXN, over ? SPOP_BYTES("over") : SPOP_BYTES("done"), true);
    spop_conn_ack_end(c, &ack);
    connection_touched(g->connection);
    return true;
}

/* With this key, or, if it cannot be sent, with the one that came with the decision. */
static void answer_with(struct again *g, const struct credential_pick *pick)
{
    const struct config_provider *p = config_provider_find(g->runtime->config, slice_cstr(g->group));
    struct slice header = pick->header;

    if (pick->aws != NULL)
        header = p != NULL && g->payload.n == SIGV4_HEX ? keys_sign(g->arena, &g->rq, p, pick, g->payload.p) : SLICE_NONE;
    if (header.n > 0)
        atomic_store(&g->flight->fallback_key.serial, pick->serial); /* what the second try's answer will be about */
    answer(g, header);
    if (pick->aws != NULL && header.n > 0)
        secret_wipe((char *)(uintptr_t)header.p, header.n); /* it stands in our own arena */
}

/* True when it has been answered. */
static bool key_look(struct again *g, int64_t now)
{
    struct credential_store *store = g->runtime->credentials;
    struct slice group = slice_cstr(g->group);
    uint32_t refused = g->flight != NULL ? atomic_load(&g->flight->primary_key.serial) : 0;
    struct credential_pick pick;

    if (g->flight == NULL || atomic_load(&g->flight->fallback_key.serial) != refused) { /* not known, or goes with another key anyway */
        answer(g, SLICE_NONE);
        return true;
    }
    struct credential_snapshot *c = credential_acquire(store);
    bool fresh = credential_pick(c, group, now, &pick) == CREDENTIAL_PICKED && pick.serial != refused;
    bool looked = g->looked != 0 && credential_looked(store, g->looked) && now - g->asked_mono_us >= REPLACED_MS * 1000;
    bool done = fresh || looked || now >= g->until_mono_us;
    if (!done && g->looked == 0)
        g->looked = credential_look(store, group);
    if (fresh)
        answer_with(g, &pick);
    else if (done)
        answer(g, SLICE_NONE);
    credential_release(c);
    return done;
}

static bool again_look(struct worker *w, struct again *g, int64_t now_us)
{
    return g->pause ? pause_look(g, w->stopping, now_us) : key_look(g, now_us);
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct worker *w = timer->data;
    struct again **at = &w->agains;
    int64_t now_us = clock_mono_us();

    (void)events;
    while (*at != NULL) {
        struct again *g = *at;
        if (again_look(w, g, now_us)) {
            *at = g->next;
            again_free(g);
        } else {
            at = &g->next;
        }
    }
    if (w->agains == NULL)
        ev_timer_stop(loop, timer);
}

static void again_wait(struct worker *w, struct again *g)
{
    g->next = w->agains;
    w->agains = g;
    if (ev_is_active(&w->again_timer))
        return;
    ev_timer_init(&w->again_timer, on_look, LOOK_EVERY_S, LOOK_EVERY_S);
    w->again_timer.data = w;
    ev_timer_start(w->loop, &w->again_timer);
}

static void argument_read(struct again *g, struct worker *w, struct slice name, const struct spop_value *v)
{
    struct slice text = slice_make(v->bytes.p, v->bytes.n);
    const struct {
        const char *name;
        struct slice *to;
    } kept[] = { { "method", &g->rq.method }, { "path", &g->rq.path }, { "query", &g->rq.query }, { "sha", &g->payload } };

    if (slice_eq_cstr(name, "ms") && spop_is_integer(v->type) && v->integer <= PAUSE_MAX_MS)
        g->until_mono_us = clock_mono_us() + (int64_t)v->integer * 1000;
    if (!spop_is_text(v->type))
        return;
    if (slice_eq_cstr(name, "id") && g->flight == NULL)
        g->flight = inflight_find(w->agent->inflight, text);
    else if (slice_eq_cstr(name, "grp") && text.n < sizeof g->group)
        memcpy(g->group, text.p, text.n);
    for (size_t i = 0; g->arena != NULL && i < sizeof kept / sizeof *kept; i++)
        if (slice_eq_cstr(name, kept[i].name))
            *kept[i].to = text.n > 0 ? arena_copy(g->arena, text) : SLICE_NONE;
}

bool again_asked(struct worker *w, struct connection *c, struct spop_notify *notify)
{
    struct spop_messages it = spop_messages_make(notify->payload);
    struct spop_bytes name;
    struct spop_value value;

    if (!spop_next_message(&it, &name))
        return false;
    bool pause = slice_eq_cstr(slice_make(name.p, name.n), "llm-pause");
    if (!pause && !slice_eq_cstr(slice_make(name.p, name.n), "llm-again"))
        return false;
    struct again *g = calloc(1, sizeof *g), nobody = { .ticket = notify->ticket, .connection = c };
    struct arena *arena = pause ? NULL : arena_new(ARENA_FIRST);
    if (g == NULL || (arena == NULL && !pause)) {
        free(g);
        arena_free(arena);
        answer(&nobody, SLICE_NONE);
        return true;
    }
    /* Well within HAProxy's patience. */
    int64_t now_us = clock_mono_us();
    *g = (struct again){ .connection = c, .ticket = notify->ticket, .runtime = runtime_ref(w->runtime), .arena = arena, .pause = pause,
                         .asked_mono_us = now_us, .until_mono_us = now_us + w->runtime->config->decision_timeout_us * 3 / 5 };
    connection_hold(c);
    while (spop_next_arg(&it, &name, &value))
        argument_read(g, w, slice_make(name.p, name.n), &value);
    if (pause && g->flight != NULL)
        atomic_store(&g->flight->pausing, true);
    if (pause)
        atomic_fetch_add_explicit(&w->agent->counters.pauses, 1, memory_order_relaxed);
    if (again_look(w, g, now_us))
        again_free(g);
    else
        again_wait(w, g);
    return true;
}
