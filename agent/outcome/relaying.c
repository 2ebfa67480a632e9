#include "outcome/relaying.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/private.h"
#include "config/config.h"
#include "decide/inflight.h"
#include "listener.h"
#include "outcome/attempts.h"
#include "outcome/meter.h"
#include "outcome/routing.h"
#include "relay/relay_stream.h"
#include "runtime.h"

#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 * 1024,
    QUEUE_MOST = 256 * 1024,  /* of one direction: beyond it its source is not read */
    ARENA_FIRST = 64 * 1024,
    TRIES = 2
};

static const double head_seconds = 10.; /* for a request's head to be whole: HAProxy sends it at once */
static const double linger_seconds = 0.5;

/* One request and its answer. */
struct relayed {
    struct relaying *relaying;
    struct relayed *prev, *next;
    int client, upstream;             /* -1: none */
    ev_io client_io, upstream_io;
    ev_timer timer;
    int attempt;                      /* 1, 2 */
    bool head_seen;
    struct relay_buffer request;      /* for the second tier */
    struct relay_stream stream;
    struct meter meter;
    struct inflight *flight;          /* NULL: not known (the agent has been restarted meanwhile) */
    double first_seconds, stall_seconds;
    char group[64];
};

/* A connection of the second tier's, kept open a little after its other end has closed. */
struct lingering {
    struct relaying *relaying;
    struct lingering *prev, *next;
    ev_timer timer;
    int fd;
};

struct entrance {
    struct relaying *relaying;
    int fd, attempt;
    ev_io io;
    char path[112];
    struct sockaddr_un tier2;
};

struct relaying {
    struct agent *agent;
    struct ev_loop *loop;
    pthread_t thread;
    struct entrance entrances[TRIES];
    ev_async stop;
    ev_timer resume;
    struct relayed *streams;
    struct lingering *lingering;
    struct token_counter *counter;
    struct arena *arena;
    char buffer[READ_BYTES];
};

static void watch(struct relayed *s, ev_io *io, int fd, int events)
{
    struct ev_loop *loop = s->relaying->loop;

    if (fd < 0 || (events == 0 && !ev_is_active(io)) || (ev_is_active(io) && (io->events & (EV_READ | EV_WRITE)) == events))
        return;
    ev_io_stop(loop, io);
    if (events == 0)
        return;
    ev_io_set(io, fd, events);
    ev_io_start(loop, io);
}

static void timer_set(struct relayed *s, double seconds)
{
    s->timer.repeat = seconds;
    ev_timer_again(s->relaying->loop, &s->timer);
}

static void lingering_end(struct lingering *l)
{
    struct relaying *r = l->relaying;

    ev_timer_stop(r->loop, &l->timer);
    if (l->prev != NULL)
        l->prev->next = l->next;
    else
        r->lingering = l->next;
    if (l->next != NULL)
        l->next->prev = l->prev;
    close(l->fd);
    free(l);
}

static void on_lingered(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    lingering_end(timer->data);
}

/* When a provider breaks a kept connection, HAProxy closes ours without a word. Closed by us in the very moment it still works on that,
 * HAProxy 3.2 spins in that stream until its watchdog ends the process: so our end stays open until it is done. */
static void upstream_linger(struct relayed *s)
{
    struct relaying *r = s->relaying;
    struct lingering *l = calloc(1, sizeof *l);

    if (l == NULL)
        return; /* closed at once */
    ev_io_stop(r->loop, &s->upstream_io);
    l->relaying = r;
    l->fd = s->upstream;
    s->upstream = -1;
    l->next = r->lingering;
    if (l->next != NULL)
        l->next->prev = l;
    r->lingering = l;
    ev_timer_init(&l->timer, on_lingered, linger_seconds, 0.);
    l->timer.data = l;
    ev_timer_start(r->loop, &l->timer);
}

static void upstream_close(struct relayed *s)
{
    if (s->upstream < 0)
        return;
    ev_io_stop(s->relaying->loop, &s->upstream_io);
    close(s->upstream);
    s->upstream = -1;
}

static void relayed_free(struct relayed *s)
{
    struct relaying *r = s->relaying;

    upstream_close(s);
    ev_io_stop(r->loop, &s->client_io);
    ev_timer_stop(r->loop, &s->timer);
    /* What was not read would turn our close into a reset at HAProxy's end. */
    ssize_t n;
    while ((n = read(s->client, r->buffer, READ_BYTES)) > 0)
        explicit_bzero(r->buffer, (size_t)n);
    close(s->client);
    if (s->flight != NULL)
        inflight_unref(s->flight);
    relay_stream_free(&s->stream);
    relay_buffer_free(&s->request);
    meter_free(&s->meter);
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        r->streams = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    free(s);
}

/* Writes what there is. False: the other side has gone. */
static bool flush(int fd, struct relay_buffer *b)
{
    while (b->len > 0) {
        struct slice all = relay_buffer_content(b);
        ssize_t n = send(fd, all.p, all.n, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        relay_buffer_drop(b, (size_t)n);
    }
    return true;
}

/* A failed try on its way to the control thread, or one whose prompt is too long for the provider. */
struct failed_try {
    struct agent_task task;
    struct inflight *flight;
    bool second, too_long;
};

static void on_failed_try(struct agent *a, struct agent_task *task)
{
    struct failed_try *t = (struct failed_try *)task;

    if (t->too_long)
        attempts_too_long(a, t->flight);
    else
        routing_given_up(a, t->flight, t->second);
    inflight_unref(t->flight);
    free(t);
}

static void breaker_tell(struct relayed *s)
{
    struct failed_try *t = calloc(1, sizeof *t);

    if (t == NULL)
        return; /* the log line tells as well, if it comes later */
    t->task.run = on_failed_try;
    t->flight = s->flight;
    t->second = s->attempt == 2;
    t->too_long = atomic_load(&s->flight->relay_cause[s->attempt - 1]) == RELAY_CAUSE_TOO_LONG;
    inflight_ref(s->flight);
    agent_post(s->relaying->agent, &t->task);
}

/* Told before the provider's connection is closed: the lines that HAProxy then writes are read in this light. A try whose answer was over by
 * itself may have left its line already. */
static void given_up(struct relayed *s, enum relay_cause cause)
{
    static struct log_gate gate;
    unsigned held = 0;

    if (cause == RELAY_CAUSE_REFUSED && s->meter.too_long)
        cause = RELAY_CAUSE_TOO_LONG;
    atomic_fetch_add_explicit(&s->relaying->agent->counters.relay_ends[cause], 1, memory_order_relaxed);
    if (s->flight == NULL)
        return;
    atomic_store(&s->flight->relay_cause[s->attempt - 1], cause);
    if (cause != RELAY_CAUSE_STOPPED && cause != RELAY_CAUSE_SHUTDOWN)
        breaker_tell(s);
    if (log_gate_open(&gate, clock_mono_us(), 20, &held))
        LOG(LOG_LEVEL_WARN, "stream_given_up", LOG_STR("request_id", s->flight->request_id), LOG_CSTR("group", s->group),
            LOG_CSTR("cause", relay_cause_word(cause)), LOG_INT("events", s->stream.events), LOG_INT("suppressed", held));
}

/* After anything that may have changed: writes, decides what to watch, ends what is over. Frees `s` in that case. */
static void relayed_turn(struct relayed *s)
{
    struct relay_stream *st = &s->stream;

    if (st->cause != RELAY_CAUSE_NONE && s->upstream >= 0)
        given_up(s, st->cause);
    if (st->state == RELAY_ENDED || st->failed)
        upstream_close(s);
    if (st->failed || !flush(s->client, &st->out) || (s->upstream >= 0 && !flush(s->upstream, &s->request))) {
        relayed_free(s);
        return;
    }
    if (st->state == RELAY_ENDED && st->out.len == 0) {
        relayed_free(s);
        return;
    }
    bool full = st->out.len > QUEUE_MOST;
    watch(s, &s->client_io, s->client, (s->request.len < QUEUE_MOST ? EV_READ : 0) | (st->out.len > 0 ? EV_WRITE : 0));
    watch(s, &s->upstream_io, s->upstream, (full ? 0 : EV_READ) | (s->request.len > 0 ? EV_WRITE : 0));
    if (st->state == RELAY_PLAIN || st->state == RELAY_ENDED || full)
        ev_timer_stop(s->relaying->loop, &s->timer); /* a client that does not read is no stall of the provider's */
    else if (!ev_is_active(&s->timer))
        timer_set(s, st->state == RELAY_OPEN ? s->stall_seconds : s->first_seconds);
}

static void fail(struct relayed *s, enum relay_cause cause)
{
    relay_stream_fail(&s->stream, cause);
    relayed_turn(s);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct relayed *s = timer->data;

    (void)events;
    ev_timer_stop(loop, timer);
    if (!s->head_seen)
        relayed_free(s);
    else
        fail(s, s->stream.state == RELAY_OPEN ? RELAY_CAUSE_STALLED : RELAY_CAUSE_LATE);
}

static void on_upstream(struct ev_loop *loop, ev_io *io, int events)
{
    struct relayed *s = io->data;
    struct relay_stream *st = &s->stream;

    (void)loop;
    if (events & EV_READ) {
        bool was_open = st->state == RELAY_OPEN;
        ssize_t n = read(s->upstream, s->relaying->buffer, READ_BYTES);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            bool silent = st->state == RELAY_HEAD;
            relay_stream_eof(st);
            if (silent) {
                given_up(s, st->cause);
                upstream_linger(s);
            }
        } else if (n > 0) {
            size_t ended = relay_stream_take(st, slice_make(s->relaying->buffer, (size_t)n));
            if (st->state == RELAY_OPEN && (ended > 0 || !was_open))
                timer_set(s, s->stall_seconds);
            explicit_bzero(s->relaying->buffer, (size_t)n);
        }
    }
    relayed_turn(s);
}

static double seconds_of(const char *text, const char *otherwise, double standard)
{
    int64_t us;

    if (text == NULL)
        text = otherwise;
    return text != NULL && config_duration_us(text, &us) ? (double)us / 1e6 : standard;
}

static void limits_find(struct relayed *s, const struct config *c)
{
    const struct config_provider *p = config_provider_find(c, slice_cstr(s->group));

    s->first_seconds = seconds_of(p != NULL ? p->first_byte_timeout_stream : NULL, c->haproxy.first_byte_timeout_stream, 15.);
    s->stall_seconds = seconds_of(c->haproxy.stall_timeout, NULL, 120.);
}

static void meter_start(struct relayed *s)
{
    struct agent *a = s->relaying->agent;
    const struct target *t = s->attempt == 2 ? &s->flight->fallback : &s->flight->primary;
    struct token_rules rules;

    s->meter.stop = s->flight->stop_tokens;
    if (s->meter.stop <= 0)
        return;
    token_rules_for_model(t->model, &rules);
    s->meter.tokenizer = tokenizer_set_find(a->tokenizers, t->encoding.n > 0 ? t->encoding : slice_cstr(rules.encoding));
    s->meter.factor_ppm = rules.factor_ppm;
}

static enum relay_shape shape_of(struct slice path)
{
    static const char *const ends[] = { [RELAY_CHAT] = NULL, [RELAY_RESPONSES] = "/responses", [RELAY_MESSAGES] = "/messages" };

    for (int i = RELAY_RESPONSES; i <= RELAY_MESSAGES; i++) {
        size_t n = strlen(ends[i]);
        if (path.n >= n && memcmp(path.p + path.n - n, ends[i], n) == 0)
            return (enum relay_shape)i;
    }
    return RELAY_CHAT;
}

/* The request is known: what it asked for, how long it may take, and its way on. */
static void request_begin(struct relayed *s, const struct relay_request *q)
{
    struct relaying *r = s->relaying;
    struct slice group = q->groups[s->attempt - 1];
    struct relay_rules rules = { .shape = shape_of(q->path), .attempt = s->attempt, .judge = meter_judge, .user = &s->meter };
    struct runtime *run = agent_runtime(r->agent);
    static struct log_gate gate;
    unsigned held = 0;

    snprintf(s->group, sizeof s->group, "%.*s", SLICE_FMT(group));
    limits_find(s, run->config);
    if (q->pause && s->attempt == 2) /* the second tier waits before it asks, and the provider has all its time from then on */
        s->first_seconds += (double)run->config->retry_after_us / 1e6;
    runtime_unref(run);
    s->meter = (struct meter){ .arena = r->arena, .counter = r->counter, .factor_ppm = 1000000, .larger_next = q->larger && s->attempt == 1 };
    s->flight = q->id.n > 0 ? inflight_find(r->agent->inflight, q->id) : NULL;
    if (s->flight != NULL)
        meter_start(s);
    rules.group = slice_cstr(s->group);
    rules.may_retry = s->attempt == 1 && q->groups[1].n > 0 && !q->again;
    relay_stream_init(&s->stream, &rules);
    s->head_seen = true;
    atomic_fetch_add_explicit(&r->agent->counters.relayed, 1, memory_order_relaxed);

    const struct sockaddr_un *to = &r->entrances[s->attempt - 1].tier2;
    s->upstream = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->upstream < 0 || connect(s->upstream, (const struct sockaddr *)to, sizeof *to) != 0) {
        int error = errno;
        if (log_gate_open(&gate, clock_mono_us(), 1, &held))
            LOG(LOG_LEVEL_ERROR, "relay_cannot_connect", LOG_CSTR("socket", to->sun_path), LOG_CSTR("error", strerror(error)),
                LOG_INT("suppressed", held));
        if (s->upstream >= 0)
            close(s->upstream);
        s->upstream = -1;
        fail(s, RELAY_CAUSE_CUT);
        return;
    }
    ev_io_init(&s->upstream_io, on_upstream, s->upstream, EV_READ);
    s->upstream_io.data = s;
    ev_io_start(r->loop, &s->upstream_io);
    timer_set(s, s->first_seconds);
    relayed_turn(s);
}

static void on_client(struct ev_loop *loop, ev_io *io, int events)
{
    struct relayed *s = io->data;
    struct relay_request q;

    (void)loop;
    if (events & EV_READ) {
        ssize_t n = read(s->client, s->relaying->buffer, READ_BYTES);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            relayed_free(s); /* the client has gone: the provider hears of it through the second tier */
            return;
        }
        if (n > 0 && s->stream.state != RELAY_ENDED)
            relay_buffer_add(&s->request, slice_make(s->relaying->buffer, (size_t)n));
        if (n > 0)
            explicit_bzero(s->relaying->buffer, (size_t)n); /* the provider's key came with it */
    }
    if (!s->head_seen) {
        int rc = s->request.failed ? -1 : relay_request_parse(relay_buffer_content(&s->request), &q);
        if (rc < 0)
            relayed_free(s);
        else if (rc == 1)
            request_begin(s, &q);
        return;
    }
    relayed_turn(s);
}

static void on_resume(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct relaying *r = timer->data;

    (void)events;
    for (int i = 0; i < TRIES; i++)
        ev_io_start(loop, &r->entrances[i].io);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    struct entrance *e = io->data;
    struct relaying *r = e->relaying;
    int fd;

    (void)events;
    while ((fd = listener_accept(io->fd)) >= 0) {
        struct relayed *s = calloc(1, sizeof *s);
        if (s == NULL) {
            close(fd);
            return;
        }
        s->relaying = r;
        s->client = fd;
        s->upstream = -1;
        s->attempt = e->attempt;
        s->next = r->streams;
        if (s->next != NULL)
            s->next->prev = s;
        r->streams = s;
        ev_init(&s->timer, on_timer);
        s->timer.data = s;
        timer_set(s, head_seconds);
        ev_io_init(&s->client_io, on_client, fd, EV_READ);
        s->client_io.data = s;
        ev_io_start(loop, &s->client_io);
    }
    if (listener_exhausted(errno)) {
        for (int i = 0; i < TRIES; i++)
            ev_io_stop(loop, &r->entrances[i].io);
        ev_timer_start(loop, &r->resume);
    }
}

static void on_stop(struct ev_loop *loop, ev_async *async, int events)
{
    struct relaying *r = async->data;
    struct relayed *s, *next;

    (void)events;
    for (s = r->streams; s != NULL; s = next) {
        next = s->next;
        if (s->head_seen)
            relay_stream_fail(&s->stream, RELAY_CAUSE_SHUTDOWN);
        if (s->head_seen && s->stream.cause != RELAY_CAUSE_NONE)
            given_up(s, s->stream.cause);
        (void)flush(s->client, &s->stream.out);
        relayed_free(s);
    }
    while (r->lingering != NULL)
        lingering_end(r->lingering);
    ev_break(loop, EVBREAK_ALL);
}

static void *relaying_run(void *user)
{
    struct relaying *r = user;
    ev_run(r->loop, 0);
    return NULL;
}

static bool entrance_open(struct relaying *r, int attempt, const struct config *c, mode_t mode, gid_t group, char *why, size_t why_size)
{
    static const char *const names[TRIES] = { "primary", "fallback" };
    struct entrance *e = &r->entrances[attempt - 1];

    e->relaying = r;
    e->attempt = attempt;
    e->tier2 = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int n = snprintf(e->path, sizeof e->path, "%s-%s.sock", c->listen.relay, names[attempt - 1]);
    int m = snprintf(e->tier2.sun_path, sizeof e->tier2.sun_path, "%s%s/tg-%s.sock", c->haproxy.chroot != NULL ? c->haproxy.chroot : "",
                     c->haproxy.runtime_dir, names[attempt - 1]);
    if (n < 0 || (size_t)n >= sizeof e->path || m < 0 || (size_t)m >= sizeof e->tier2.sun_path) {
        snprintf(why, why_size, "listen.relay or haproxy.runtime_dir is too long for a unix socket's path");
        return false;
    }
    e->fd = listener_open(e->path, mode, group, why, why_size);
    if (e->fd < 0)
        return false;
    ev_io_init(&e->io, on_accept, e->fd, EV_READ);
    e->io.data = e;
    ev_io_start(r->loop, &e->io);
    return true;
}

static void relaying_free(struct relaying *r)
{
    for (int i = 0; i < TRIES; i++)
        if (r->entrances[i].fd >= 0)
            listener_close(r->entrances[i].fd, r->entrances[i].path);
    if (r->loop != NULL)
        ev_loop_destroy(r->loop);
    token_counter_free(r->counter);
    arena_free(r->arena);
    private_free(r);
}

struct relaying *relaying_start(struct agent *a, const struct config *c, mode_t mode, gid_t group, char *why, size_t why_size)
{
    struct relaying *r = private_calloc(1, sizeof *r); /* its buffer */

    snprintf(why, why_size, "out of memory");
    if (r == NULL)
        return NULL;
    r->agent = a;
    r->entrances[0].fd = r->entrances[1].fd = -1;
    r->loop = ev_loop_new(EVFLAG_AUTO);
    r->counter = token_counter_new(NULL);
    r->arena = arena_new(ARENA_FIRST);
    if (r->loop == NULL || r->counter == NULL || r->arena == NULL)
        goto fail;
    ev_async_init(&r->stop, on_stop);
    ev_timer_init(&r->resume, on_resume, 1., 0.);
    r->stop.data = r->resume.data = r;
    ev_async_start(r->loop, &r->stop);
    for (int attempt = 1; attempt <= TRIES; attempt++)
        if (!entrance_open(r, attempt, c, mode, group, why, why_size))
            goto fail;
    if (pthread_create(&r->thread, NULL, relaying_run, r) != 0)
        goto fail;
    return r;
fail:
    relaying_free(r);
    return NULL;
}

void relaying_stop(struct relaying *r)
{
    if (r == NULL)
        return;
    ev_async_send(r->loop, &r->stop);
    pthread_join(r->thread, NULL);
    relaying_free(r);
}
