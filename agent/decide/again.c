#include "decide/again.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "decide/inflight.h"
#include "runtime.h"
#include "worker.h"

#include <stdlib.h>

enum { GROUP_MAX = 128 };
static const double LOOK_EVERY_S = 0.005;

struct again {
    struct again *next;
    struct connection *connection; /* held */
    struct spop_ticket ticket;
    struct runtime *runtime;
    struct inflight *flight; /* NULL: not known, the agent was restarted meanwhile */
    char group[GROUP_MAX];
    uint32_t looked;         /* ticket of credential_look; 0: not asked yet */
    int64_t until_mono_us;
};

static void again_free(struct again *g)
{
    connection_release(g->connection);
    runtime_unref(g->runtime);
    if (g->flight != NULL)
        inflight_unref(g->flight);
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

/* True when it has been answered. */
static bool again_look(struct again *g)
{
    struct credential_store *store = g->runtime->credentials;
    struct slice group = slice_cstr(g->group);
    uint32_t refused = g->flight != NULL ? atomic_load(&g->flight->fallback_key.serial) : 0;
    struct credential_snapshot *c = credential_acquire(store);
    struct credential_pick pick;

    bool done = credential_pick(c, group, clock_mono_us(), &pick) != CREDENTIAL_PICKED || pick.aws != NULL || g->flight == NULL;
    bool fresh = !done && pick.serial != refused;
    if (fresh)
        atomic_store(&g->flight->fallback_key.serial, pick.serial); /* what the second try's answer will be about */
    else if (!done && g->looked == 0)
        g->looked = credential_look(store, group);
    else if (!done)
        done = credential_looked(store, g->looked) || clock_mono_us() >= g->until_mono_us;
    if (fresh || done)
        answer(g, fresh ? pick.header : SLICE_NONE);
    credential_release(c);
    return fresh || done;
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct worker *w = timer->data;
    struct again **at = &w->agains;

    (void)events;
    while (*at != NULL) {
        struct again *g = *at;
        if (again_look(g)) {
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
    if (v->type != SPOP_STRING)
        return;
    if (slice_eq_cstr(name, "id") && g->flight == NULL)
        g->flight = inflight_find(w->agent->inflight, slice_make(v->bytes.p, v->bytes.n));
    else if (slice_eq_cstr(name, "grp") && v->bytes.n < sizeof g->group)
        memcpy(g->group, v->bytes.p, v->bytes.n);
}

bool again_asked(struct worker *w, struct connection *c, struct spop_notify *notify)
{
    struct spop_messages it = spop_messages_make(notify->payload);
    struct spop_bytes name;
    struct spop_value value;

    if (!spop_next_message(&it, &name) || !slice_eq_cstr(slice_make(name.p, name.n), "llm-again"))
        return false;
    struct again *g = calloc(1, sizeof *g), nobody = { .ticket = notify->ticket, .connection = c };
    if (g == NULL) {
        answer(&nobody, SLICE_NONE);
        return true;
    }
    /* Well within HAProxy's patience. */
    *g = (struct again){ .connection = c, .ticket = notify->ticket, .runtime = runtime_ref(w->runtime),
                         .until_mono_us = clock_mono_us() + w->runtime->config->decision_timeout_us * 3 / 5 };
    connection_hold(c);
    while (spop_next_arg(&it, &name, &value))
        argument_read(g, w, slice_make(name.p, name.n), &value);
    if (again_look(g))
        again_free(g);
    else
        again_wait(w, g);
    return true;
}
