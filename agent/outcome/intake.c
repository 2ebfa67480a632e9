#include "outcome/intake.h"

#include "agent.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "listener.h"
#include "settle/settle_line.h"
#include "settle/settle_octets.h"
#include "settle/settle_record.h"
#include "outcome/settlement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, READS_PER_TURN = 16 };

enum source_kind { SOURCE_TAP, SOURCE_RING };

/* One connection from HAProxy. Outlives its socket while records are on their way to the ledger. */
struct source {
    struct intake *intake;
    struct source *prev, *next;
    enum source_kind kind;
    int fd;                 /* -1: closed */
    ev_io io;
    struct settle_reader *records;
    struct settle_octets *lines;
    unsigned waiting;       /* records without an acknowledgement */
};

struct intake {
    struct agent *agent;
    char *settle_path, *ring_address;
    int settle_fd, ring_fd;
    ev_io settle_io, ring_io;
    ev_timer resume;        /* of accepting, when descriptors had run out */
    struct source *sources;
    struct arena *arena;
    char buffer[READ_BYTES];
};

static void heard(struct agent *a, enum source_kind kind, int change)
{
    struct agent_counters *c = &a->counters;

    atomic_store(kind == SOURCE_TAP ? &c->tap_heard_us : &c->ring_heard_us, clock_wall_us());
    atomic_fetch_add(kind == SOURCE_TAP ? &c->tap_connections : &c->ring_connections, change);
}

static void source_drop(struct source *s)
{
    if (s->fd >= 0) {
        heard(s->intake->agent, s->kind, -1);
        ev_io_stop(s->intake->agent->loop, &s->io);
        close(s->fd);
        s->fd = -1;
    }
    if (s->waiting > 0)
        return;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        s->intake->sources = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    settle_reader_free(s->records);
    settle_octets_free(s->lines);
    free(s);
}

/* However this process ends, a TCP connection is then reset, not closed: HAProxy 3.0 never sends again on a ring's connection that was
 * merely closed, nor opens another (its sink_forward_oc_io_handler); one that was reset it replaces within a second. */
static void reset_at_end(int fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* of no effect on a unix socket: there newlines end the lines instead */
}

/* The sender waits for this byte before it sends the next record: there is always room for it. */
static void on_recorded(void *user)
{
    struct source *s = user;

    s->waiting--;
    if (s->fd < 0 || write(s->fd, "+", 1) != 1)
        source_drop(s);
}

static bool records_take(struct source *s, size_t n)
{
    struct settle_record r;
    const char *why = "";
    int rc;

    settle_reader_take(s->records, n);
    while ((rc = settle_reader_next(s->records, &r, &why)) == 1 || rc == -2) {
        if (rc == -2) {
            /* Whole, but of no use: taken, or the tap would send it again for ever. */
            LOG(LOG_LEVEL_ERROR, "settlement_record_unusable", LOG_CSTR("why", why));
            s->waiting++;
            on_recorded(s);
            if (s->fd < 0)
                return false;
            continue;
        }
        s->waiting += 2; /* one stays until the call is back: `done` may come from within it */
        settlement_record(s->intake->agent, &r, on_recorded, s);
        s->waiting--;
        if (s->fd < 0)
            return false;
    }
    if (rc < 0)
        LOG(LOG_LEVEL_ERROR, "settlement_stream_broken", LOG_CSTR("why", why));
    return rc == 0;
}

static bool lines_take(struct source *s, size_t n)
{
    static struct log_gate gate;
    struct slice in = slice_make(s->intake->buffer, n), text;
    struct settle_line line;
    const char *why = "";
    unsigned held = 0;
    int rc;

    while ((rc = settle_octets_next(s->lines, &in, &text, &why)) == 1) {
        arena_reset(s->intake->arena, READ_BYTES);
        LOG(LOG_LEVEL_DEBUG, "log_line", LOG_STR("text", text));
        if (settle_line_parse(text, s->intake->arena, &line, &why) == 0)
            settlement_line(s->intake->agent, &line);
        else if (log_gate_open(&gate, clock_mono_us(), 1, &held))
            LOG(LOG_LEVEL_WARN, "log_line_unreadable", LOG_CSTR("why", why), LOG_INT("bytes", text.n), LOG_INT("suppressed", held));
    }
    if (rc < 0)
        LOG(LOG_LEVEL_ERROR, "log_ring_broken", LOG_CSTR("why", why));
    return rc == 0;
}

static void on_source(struct ev_loop *loop, ev_io *io, int events)
{
    struct source *s = io->data;
    struct intake *in = s->intake;

    (void)loop, (void)events;
    for (int i = 0; i < READS_PER_TURN; i++) {
        char *room = s->kind == SOURCE_TAP ? settle_reader_room(s->records, READ_BYTES) : in->buffer;
        ssize_t n = room == NULL ? 0 : read(s->fd, room, READ_BYTES);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n > 0)
            heard(in->agent, s->kind, 0);
        bool ok = n > 0 && (s->kind == SOURCE_TAP ? records_take(s, (size_t)n) : lines_take(s, (size_t)n));
        if (!ok) {
            source_drop(s);
            return;
        }
        if (n < READ_BYTES)
            return;
    }
}

static void on_resume(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct intake *in = timer->data;

    (void)events;
    ev_io_start(loop, &in->settle_io);
    ev_io_start(loop, &in->ring_io);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    struct intake *in = io->data;
    enum source_kind kind = io == &in->settle_io ? SOURCE_TAP : SOURCE_RING;
    int fd;

    (void)events;
    while ((fd = listener_accept(io->fd)) >= 0) {
        struct source *s = calloc(1, sizeof *s);
        if (s != NULL && kind == SOURCE_TAP)
            s->records = settle_reader_new(0);
        else if (s != NULL)
            s->lines = settle_octets_new(0);
        if (s == NULL || (s->records == NULL && s->lines == NULL)) {
            free(s);
            close(fd);
            return;
        }
        if (kind == SOURCE_RING)
            reset_at_end(fd);
        s->intake = in;
        s->kind = kind;
        s->fd = fd;
        s->next = in->sources;
        if (s->next != NULL)
            s->next->prev = s;
        in->sources = s;
        ev_io_init(&s->io, on_source, fd, EV_READ);
        s->io.data = s;
        ev_io_start(loop, &s->io);
        heard(in->agent, kind, 1);
    }
    if (listener_exhausted(errno)) {
        ev_io_stop(loop, io);
        ev_timer_start(loop, &in->resume);
    }
}

struct intake *intake_start(struct agent *a, const char *settle_path, const char *ring_address, mode_t mode, gid_t group, char *why,
                            size_t why_size)
{
    struct intake *in = calloc(1, sizeof *in);

    if (in == NULL)
        return NULL;
    in->agent = a;
    in->ring_fd = -1;
    in->settle_path = strdup(settle_path);
    in->ring_address = strdup(ring_address);
    in->arena = arena_new(READ_BYTES);
    in->settle_fd = listener_open(settle_path, mode, group, why, why_size);
    if (in->settle_fd >= 0)
        in->ring_fd = listener_open(ring_address, mode, group, why, why_size);
    if (in->ring_fd < 0 || in->arena == NULL || in->settle_path == NULL || in->ring_address == NULL) {
        intake_free(in);
        return NULL;
    }
    ev_io_init(&in->settle_io, on_accept, in->settle_fd, EV_READ);
    ev_io_init(&in->ring_io, on_accept, in->ring_fd, EV_READ);
    ev_timer_init(&in->resume, on_resume, 1., 0.);
    in->settle_io.data = in->ring_io.data = in->resume.data = in;
    ev_io_start(a->loop, &in->settle_io);
    ev_io_start(a->loop, &in->ring_io);
    return in;
}

void intake_stop(struct intake *in)
{
    struct source *s, *next;

    if (in == NULL)
        return;
    for (s = in->sources; s != NULL; s = next) {
        next = s->next;
        source_drop(s);
    }
    ev_timer_stop(in->agent->loop, &in->resume);
    if (in->settle_fd >= 0) {
        ev_io_stop(in->agent->loop, &in->settle_io);
        listener_close(in->settle_fd, in->settle_path);
    }
    if (in->ring_fd >= 0) {
        ev_io_stop(in->agent->loop, &in->ring_io);
        listener_close(in->ring_fd, in->ring_address);
    }
    in->settle_fd = in->ring_fd = -1;
}

void intake_free(struct intake *in)
{
    if (in == NULL)
        return;
    intake_stop(in);
    while (in->sources != NULL) {
        in->sources->waiting = 0;
        source_drop(in->sources);
    }
    arena_free(in->arena);
    free(in->settle_path);
    free(in->ring_address);
    free(in);
}
