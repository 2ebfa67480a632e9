#include "worker.h"

#include "access/access_change.h"
#include "agent.h"
#include "base/clock.h"
#include "base/fiber.h"
#include "base/log.h"
#include "base/private.h"
#include "decide/again.h"
#include "decide/decision.h"
#include "access/gateway_keys.h"
#include "identity/identity.h"
#include "listener.h"
#include "observe/metrics.h"
#include "runtime.h"
#include "tokens/count.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 * 1024,
    READS_PER_TURN = 4,
    ACCEPTS_PER_TURN = 64,
    HELLO_DEADLINE_US = 5 * 1000 * 1000,
    STUCK_DEADLINE_US = 20 * 1000 * 1000 /* unsent output, a closing connection, or half a frame */
};

struct connection {
    struct worker *worker;
    struct connection *prev, *next;  /* of all */
    struct connection *dirty_next;
    struct spop_conn *spop;
    ev_io io;
    int fd;                          /* -1: closed, only decisions keep the shell */
    unsigned held;                   /* decisions */
    bool dirty, stuck;
    size_t partial_before;
    int64_t opened_us, stuck_since_us; /* monotonic */
};

static void connection_dirty(struct connection *c)
{
    if (!c->dirty) {
        c->dirty = true;
        c->dirty_next = c->worker->dirty;
        c->worker->dirty = c;
    }
}

void connection_touched(struct connection *c)
{
    connection_dirty(c);
}

void connection_hold(struct connection *c)
{
    c->held++;
}

static void connection_free(struct connection *c)
{
    struct worker *w = c->worker;

    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        w->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    w->connection_count--;
    spop_conn_free(c->spop);
    free(c);
}

static void connection_shut(struct connection *c)
{
    if (c->fd >= 0) {
        ev_io_stop(c->worker->loop, &c->io);
        close(c->fd);
        c->fd = -1;
    }
}

/* Frees at the end of the turn, never under a caller's feet. */
void connection_release(struct connection *c)
{
    c->held--;
    connection_dirty(c);
}

struct spop_conn *connection_spop(struct connection *c)
{
    return c->spop;
}

static void on_closing(void *user, struct spop_conn *spop, const struct spop_close *why)
{
    static struct log_gate gate; /* shared by workers */
    struct connection *c = user;
    unsigned held = 0;

    (void)spop;
    if (why->cause != SPOP_CLOSE_PROTOCOL_ERROR && !(why->cause == SPOP_CLOSE_PEER && why->code != SPOP_NORMAL))
        return;
    if (!log_gate_open(&gate, clock_mono_us(), 5, &held))
        return;
    LOG(LOG_LEVEL_WARN, "spop_closed", LOG_INT("worker", c->worker->number),
        LOG_CSTR("by", why->cause == SPOP_CLOSE_PEER ? "haproxy" : "agent"), LOG_INT("code", why->code),
        LOG_CSTR("reason", why->reason), LOG_STR("peer_message", slice_make(why->peer_message.p, why->peer_message.n)),
        LOG_INT("suppressed", held));
}

static void on_notify(void *user, struct spop_conn *spop, struct spop_notify *notify)
{
    struct connection *c = user;
    (void)spop;
    if (!again_asked(c->worker, c, notify))
        decision_start(c->worker, c, notify);
}

static void on_hello(void *user, struct spop_conn *spop, const struct spop_hello *hello)
{
    struct connection *c = user;
    (void)spop, (void)hello;
    atomic_store_explicit(&c->worker->agent->counters.spop_heard_us, clock_wall_us(), memory_order_relaxed);
}

static const struct spop_conn_options spop_options = { .memory = { .alloc = private_alloc, .free = private_free } };
static const struct spop_conn_handler handler = { .hello = on_hello, .notify = on_notify, .closing = on_closing };

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *c = io->data;
    struct worker *w = c->worker;

    (void)loop;
    connection_dirty(c);
    if (!(events & EV_READ))
        return;
    for (int i = 0; i < READS_PER_TURN && spop_conn_wants_input(c->spop); i++) {
        ssize_t n = read(c->fd, w->read_buffer, READ_BYTES);
        if (n > 0) {
            spop_conn_feed(c->spop, w->read_buffer, (size_t)n);
            explicit_bzero(w->read_buffer, (size_t)n);
            if (n < READ_BYTES)
                break;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            spop_conn_eof(c->spop);
            break;
        } else {
            break;
        }
    }
}

static void connection_watch(struct connection *c, bool unsent)
{
    int want = (spop_conn_wants_input(c->spop) ? EV_READ : 0) | (unsent ? EV_WRITE : 0);
    if (want == (c->io.events & (EV_READ | EV_WRITE)) && ev_is_active(&c->io))
        return;
    ev_io_stop(c->worker->loop, &c->io);
    ev_io_set(&c->io, c->fd, want);
    if (want != 0)
        ev_io_start(c->worker->loop, &c->io);
}

static void connection_flush(struct connection *c)
{
    const void *p;
    size_t n;
    bool unsent = false;

    if (c->fd >= 0) {
        spop_conn_resume(c->spop);
        while (spop_conn_output(c->spop, &p, &n)) {
            ssize_t k = write(c->fd, p, n);
            if (k > 0) {
                spop_conn_sent(c->spop, (size_t)k);
            } else if (k < 0 && errno == EINTR) {
                continue;
            } else {
                if (k < 0 && errno != EAGAIN)
                    spop_conn_eof(c->spop);
                else
                    unsent = true;
                break;
            }
        }
        if (spop_conn_state(c->spop) == SPOP_CONN_CLOSED)
            connection_shut(c);
        else
            connection_watch(c, unsent);
    }
    if (unsent != c->stuck) {
        c->stuck = unsent;
        c->stuck_since_us = clock_mono_us();
    }
    /* Touched again while it was written (resumed input was answered at once): its next turn frees it. */
    if (c->fd < 0 && c->held == 0 && !c->dirty)
        connection_free(c);
}

static void dirty_flush(struct worker *w)
{
    while (w->dirty != NULL) {
        struct connection *c = w->dirty;
        w->dirty = c->dirty_next;
        c->dirty = false;
        connection_flush(c);
    }
}

static void on_flush(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    struct worker *w = prepare->data;

    (void)loop, (void)events;
    /* Answers that are ready do not wait for a slice of somebody's long prompt. */
    dirty_flush(w);
    /* A slice in each turn, not only in idle ones: a busy loop must not starve the long prompts either. */
    if (w->jobs != NULL) {
        decisions_step(w);
        dirty_flush(w);
    }
}

/* A socket with a connection that cannot be accepted stays readable: watching it would keep the loop busy with nothing. */
static void accept_pause(struct worker *w, bool pause)
{
    for (unsigned i = 0; i < w->accept_count; i++) {
        if (pause)
            ev_io_stop(w->loop, &w->accept[i]);
        else
            ev_io_start(w->loop, &w->accept[i]);
    }
    w->accept_paused = pause;
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct worker *w = timer->data;
    int64_t now = clock_mono_us();

    (void)loop, (void)events;
    for (struct connection *c = w->connections, *next; c != NULL; c = next) {
        next = c->next;
        if (c->fd < 0)
            continue;
        size_t partial = spop_conn_partial(c->spop);
        bool slow = c->stuck || spop_conn_state(c->spop) == SPOP_CONN_CLOSING || (partial > 0 && partial == c->partial_before);
        if (!slow)
            c->stuck_since_us = now;
        c->partial_before = partial;
        if ((!spop_conn_negotiated(c->spop) && now - c->opened_us > HELLO_DEADLINE_US) || now - c->stuck_since_us > STUCK_DEADLINE_US) {
            spop_conn_eof(c->spop);
            connection_dirty(c);
        }
    }
    if (w->accept_paused)
        accept_pause(w, false);
    decisions_tick(w);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    static struct log_gate gate;
    struct worker *w = io->data;
    unsigned held = 0;

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = listener_accept(io->fd);
        if (fd < 0) {
            int why = errno;
            if (why != EAGAIN && why != EINTR && why != ECONNABORTED && log_gate_open(&gate, clock_mono_us(), 1, &held))
                LOG(LOG_LEVEL_ERROR, "accept_failed", LOG_CSTR("error", strerror(why)), LOG_INT("suppressed", held));
            if (listener_exhausted(why))
                accept_pause(w, true);
            return;
        }
        struct connection *c = calloc(1, sizeof *c);
        if (c != NULL)
            c->spop = spop_conn_new(&spop_options, &handler, c);
        if (c == NULL || c->spop == NULL) {
            free(c);
            close(fd);
            return;
        }
        c->worker = w;
        c->fd = fd;
        c->opened_us = c->stuck_since_us = clock_mono_us();
        c->next = w->connections;
        if (c->next != NULL)
            c->next->prev = c;
        w->connections = c;
        w->connection_count++;
        ev_io_init(&c->io, on_io, fd, EV_READ);
        c->io.data = c;
        ev_io_start(loop, &c->io);
    }
}

static void on_keys(void *user)
{
    decisions_unpark(user);
}

/* The caches of the encodings it counts with, before a request has to wait for them. */
static bool counter_prepare(struct worker *w, const struct runtime *r)
{
    for (size_t i = 0; w->counter != NULL && i < r->routes.alias_count; i++)
        for (size_t k = 0; k < r->routes.aliases[i].target_count; k++) {
            const struct tokenizer *t = r->models[i].targets[k].tokenizer;
            if (t != NULL && token_counter_prepare(w->counter, t) != 0)
                return false;
        }
    return w->counter != NULL;
}

static bool runtime_take(struct worker *w)
{
    struct runtime *fresh = agent_runtime(w->agent);
    struct identity_verifier *v = identity_verifier_new(fresh->identity, w->loop, on_keys, w);

    if (v == NULL || !counter_prepare(w, fresh)) {
        identity_verifier_free(v);
        runtime_unref(fresh);
        return false;
    }
    identity_verifier_revocations(v, &w->agent->access->revocations);
    identity_verifier_keys(v, &w->agent->access->keys, gateway_keys_secret(w->agent));
    identity_verifier_free(w->verifier);
    runtime_unref(w->runtime);
    w->runtime = fresh;
    w->verifier = v;
    return true;
}

static void accept_stop(struct worker *w)
{
    for (unsigned i = 0; i < w->accept_count; i++)
        ev_io_stop(w->loop, &w->accept[i]);
    w->accept_count = 0;
}

static void on_wake(struct ev_loop *loop, ev_async *async, int events)
{
    struct worker *w = async->data;

    (void)loop, (void)events;
    pthread_mutex_lock(&w->lock);
    struct decision *done = w->committed;
    bool stop = w->stop_asked && !w->stopping, changed = w->runtime_changed;
    w->committed = NULL;
    w->runtime_changed = false;
    pthread_mutex_unlock(&w->lock);
    decisions_committed(w, done);
    if (changed && runtime_take(w))
        decisions_unpark(w);
    if (stop) {
        w->stopping = true;
        accept_stop(w);
        for (struct connection *c = w->connections; c != NULL; c = c->next) {
            if (c->fd >= 0)
                spop_conn_shutdown(c->spop);
            connection_dirty(c);
        }
    }
}

void worker_committed(struct worker *w, struct decision *d)
{
    pthread_mutex_lock(&w->lock);
    bool first = w->committed == NULL;
    decision_link(d, &w->committed);
    pthread_mutex_unlock(&w->lock);
    if (first)
        ev_async_send(w->loop, &w->wake);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    metrics_thread(w->number + 1);
    while (!w->stopping || w->connections != NULL)
        ev_run(w->loop, EVRUN_ONCE);
    return NULL;
}

/* Only keeps the loop from sleeping while there is something to count. */
static void on_jobs(struct ev_loop *loop, ev_idle *idle, int events)
{
    (void)loop, (void)idle, (void)events;
}

bool worker_start(struct worker *w, struct agent *agent, unsigned number, const int *fds, unsigned fd_count)
{
    *w = (struct worker){ .agent = agent, .number = number, .accept_count = fd_count };
    pthread_mutex_init(&w->lock, NULL);
    w->loop = ev_loop_new(EVFLAG_AUTO);
    w->counter = token_counter_new(NULL);
    w->fibers = fiber_pool_new();
    w->read_buffer = private_alloc(READ_BYTES);
    w->accept = calloc(fd_count, sizeof *w->accept);
    if (w->loop == NULL || w->counter == NULL || w->fibers == NULL || w->read_buffer == NULL || w->accept == NULL || !runtime_take(w))
        return false;
    ev_async_init(&w->wake, on_wake);
    ev_prepare_init(&w->flush, on_flush);
    ev_timer_init(&w->tick, on_tick, 1., 1.);
    ev_idle_init(&w->job_idle, on_jobs);
    w->wake.data = w->flush.data = w->tick.data = w->job_idle.data = w;
    ev_async_start(w->loop, &w->wake);
    ev_prepare_start(w->loop, &w->flush);
    ev_timer_start(w->loop, &w->tick);
    for (unsigned i = 0; i < fd_count; i++) {
        ev_io_init(&w->accept[i], on_accept, fds[i], EV_READ);
        w->accept[i].data = w;
        ev_io_start(w->loop, &w->accept[i]);
    }
    return pthread_create(&w->thread, NULL, worker_main, w) == 0;
}

void worker_runtime_changed(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->runtime_changed = true;
    pthread_mutex_unlock(&w->lock);
    ev_async_send(w->loop, &w->wake);
}

void worker_stop(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop_asked = true;
    pthread_mutex_unlock(&w->lock);
    ev_async_send(w->loop, &w->wake);
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

void worker_free(struct worker *w)
{
    decisions_committed(w, w->committed); /* rows of refusals that the ledger wrote after the loop had ended */
    decisions_free_spare(w);
    identity_verifier_free(w->verifier);
    runtime_unref(w->runtime);
    token_counter_free(w->counter);
    fiber_pool_free(w->fibers);
    ev_loop_destroy(w->loop);
    private_free(w->read_buffer);
    free(w->accept);
    pthread_mutex_destroy(&w->lock);
}
