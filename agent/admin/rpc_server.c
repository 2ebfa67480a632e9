#include "admin/rpc.h"

#include "base/log.h"
#include "base/redact.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MAX = 1 << 20, READ_BYTES = 16384, PEERS_MAX = 64 };

const char rpc_later[] = "later";

struct rpc_pending {
    struct peer *peer; /* NULL: gone */
    struct rpc_pending *prev, *next;
    uint64_t id;
};

struct peer {
    struct rpc_pending *pending;
    struct rpc_server *server;
    struct peer *prev, *next;
    int fd;
    unsigned uid;
    int pid;
    ev_io io;
    msgpack_unpacker unpacker;
    msgpack_sbuffer out;
    size_t sent;
};

struct rpc_server {
    struct ev_loop *loop;
    int fd;
    ev_io io;
    ev_timer resume; /* of accepting, when descriptors had run out */
    const struct rpc_method *methods;
    void *user;
    struct peer *peers;
    unsigned peer_count;
    struct peer *asking; /* whose question is being answered */
    uint64_t asking_id;
    const char *(*asked)(void *user, const struct rpc_asking *who); /* NULL: nobody watches */
    void (*refused)(void *user, const struct rpc_asking *who, const char *reason);
    void *watcher;
};

static void peer_free(struct peer *p)
{
    struct rpc_server *s = p->server;

    for (struct rpc_pending *q = p->pending, *next; q != NULL; q = next) {
        next = q->next;
        *q = (struct rpc_pending){ .id = q->id }; /* whoever answers it finds nobody */
    }
    ev_io_stop(s->loop, &p->io);
    close(p->fd);
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        s->peers = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    s->peer_count--;
    msgpack_unpacker_destroy(&p->unpacker);
    msgpack_sbuffer_destroy(&p->out);
    free(p);
}

static const struct rpc_method *method_find(const struct rpc_server *s, const msgpack_object *name)
{
    if (name->type != MSGPACK_OBJECT_STR)
        return NULL;
    for (const struct rpc_method *m = s->methods; m->name != NULL; m++)
        if (strlen(m->name) == name->via.str.size && memcmp(m->name, name->via.str.ptr, name->via.str.size) == 0)
            return m;
    return NULL;
}

static void answer_put(struct peer *p, uint64_t id, const char *error, const char *result, size_t n)
{
    msgpack_packer pack;

    msgpack_packer_init(&pack, &p->out, msgpack_sbuffer_write);
    msgpack_pack_array(&pack, 4);
    msgpack_pack_int(&pack, 1);
    msgpack_pack_uint64(&pack, id);
    size_t before = p->out.size;
    if (error != NULL) {
        msgpack_pack_str_with_body(&pack, error, strlen(error));
        msgpack_pack_nil(&pack);
    } else {
        msgpack_pack_nil(&pack);
        msgpack_sbuffer_write(&p->out, result, n);
    }
    redact_mask(p->out.data + before, p->out.size - before);
}

void rpc_server_watch(struct rpc_server *s, const char *(*asked)(void *user, const struct rpc_asking *who),
                      void (*refused)(void *user, const struct rpc_asking *who, const char *reason), void *user)
{
    s->asked = asked;
    s->refused = refused;
    s->watcher = user;
}

unsigned rpc_peer_uid(const struct rpc_server *s)
{
    return s->asking->uid;
}

struct rpc_pending *rpc_defer(struct rpc_server *s)
{
    struct rpc_pending *q = calloc(1, sizeof *q);

    if (q == NULL)
        return NULL;
    q->peer = s->asking;
    q->id = s->asking_id;
    q->next = q->peer->pending;
    if (q->next != NULL)
        q->next->prev = q;
    q->peer->pending = q;
    return q;
}

/* The method's answer, unless whoever watches refuses. */
static const char *method_call(struct peer *p, const struct rpc_method *m, const msgpack_object *params, msgpack_packer *result)
{
    struct rpc_server *s = p->server;
    const struct rpc_asking who = { .method = m->name, .params = params, .uid = p->uid, .pid = p->pid };
    const char *error = s->asked != NULL ? s->asked(s->watcher, &who) : NULL;

    if (error != NULL)
        return error;
    error = m->call(s->user, params, result);
    if (s->refused != NULL && error != NULL && error != rpc_later)
        s->refused(s->watcher, &who, error);
    return error;
}

static bool request_answer(struct peer *p, const msgpack_object *o)
{
    const msgpack_object *v = o->via.array.ptr;
    msgpack_sbuffer result;
    msgpack_packer pack;
    const char *error = "there is no such method";

    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 4 || v[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
        v[0].via.u64 != 0 || v[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER || v[3].type != MSGPACK_OBJECT_ARRAY)
        return false;
    msgpack_sbuffer_init(&result);
    msgpack_packer_init(&pack, &result, msgpack_sbuffer_write);
    const struct rpc_method *m = method_find(p->server, &v[2]);
    p->server->asking = p;
    p->server->asking_id = v[1].via.u64;
    if (m != NULL)
        error = method_call(p, m, &v[3], &pack);
    p->server->asking = NULL;
    if (error != rpc_later)
        answer_put(p, v[1].via.u64, error, result.data, result.size);
    msgpack_sbuffer_destroy(&result);
    return true;
}

static bool requests_answer(struct peer *p)
{
    msgpack_unpacked one;
    bool ok = true;

    msgpack_unpacked_init(&one);
    for (;;) {
        msgpack_unpack_return rc = msgpack_unpacker_next(&p->unpacker, &one);
        if (rc == MSGPACK_UNPACK_CONTINUE)
            break;
        ok = rc == MSGPACK_UNPACK_SUCCESS && request_answer(p, &one.data);
        if (!ok)
            break;
    }
    msgpack_unpacked_destroy(&one);
    return ok && msgpack_unpacker_message_size(&p->unpacker) <= REQUEST_MAX;
}

/* False when the connection is over. */
static bool peer_write(struct peer *p)
{
    while (p->sent < p->out.size) {
        ssize_t n = send(p->fd, p->out.data + p->sent, p->out.size - p->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        p->sent += (size_t)n;
    }
    msgpack_sbuffer_clear(&p->out);
    p->sent = 0;
    return true;
}

static void peer_watch(struct peer *p)
{
    int want = p->out.size > 0 ? EV_WRITE : EV_READ; /* one that does not read its answers is not asked for more questions */

    ev_io_stop(p->server->loop, &p->io);
    ev_io_set(&p->io, p->fd, want);
    ev_io_start(p->server->loop, &p->io);
}

void rpc_undefer(struct rpc_pending *q)
{
    if (q->prev != NULL)
        q->prev->next = q->next;
    else if (q->peer != NULL)
        q->peer->pending = q->next;
    if (q->next != NULL)
        q->next->prev = q->prev;
    free(q);
}

void rpc_resolve(struct rpc_pending *q, const char *error, const msgpack_sbuffer *result)
{
    struct peer *p = q->peer;

    if (p != NULL) {
        answer_put(p, q->id, error, error == NULL ? result->data : NULL, error == NULL ? result->size : 0);
    }
    rpc_undefer(q);
    if (p != NULL && peer_write(p))
        peer_watch(p);
    else if (p != NULL)
        peer_free(p);
}

static void on_peer(struct ev_loop *loop, ev_io *io, int events)
{
    struct peer *p = io->data;
    bool ok = true;

    (void)loop;
    if (events & EV_READ) {
        ok = msgpack_unpacker_reserve_buffer(&p->unpacker, READ_BYTES);
        ssize_t n = ok ? read(p->fd, msgpack_unpacker_buffer(&p->unpacker), READ_BYTES) : 0;
        if (n > 0) {
            msgpack_unpacker_buffer_consumed(&p->unpacker, (size_t)n);
            ok = requests_answer(p);
        } else {
            ok = n < 0 && (errno == EAGAIN || errno == EINTR);
        }
    }
    if (!ok || !peer_write(p)) {
        peer_free(p);
        return;
    }
    peer_watch(p);
}

static bool peer_allowed(int fd, unsigned *uid, int *pid)
{
    struct ucred who;
    socklen_t n = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
        return false;
    *uid = who.uid;
    *pid = who.pid;
    if (who.uid == 0 || who.uid == geteuid())
        return true;
    LOG(LOG_LEVEL_WARN, "admin_refused", LOG_INT("uid", who.uid), LOG_INT("pid", who.pid));
    return false;
}

static void on_resume(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct rpc_server *s = timer->data;

    (void)events;
    ev_io_start(loop, &s->io);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    struct rpc_server *s = io->data;
    unsigned uid = 0;
    int pid = 0;
    int fd;

    (void)events;
    while ((fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = s->peer_count < PEERS_MAX && peer_allowed(fd, &uid, &pid) ? calloc(1, sizeof *p) : NULL;
        if (p == NULL || !msgpack_unpacker_init(&p->unpacker, READ_BYTES)) {
            free(p);
            close(fd);
            continue;
        }
        msgpack_sbuffer_init(&p->out);
        p->server = s;
        p->fd = fd;
        p->uid = uid;
        p->pid = pid;
        p->next = s->peers;
        if (p->next != NULL)
            p->next->prev = p;
        s->peers = p;
        s->peer_count++;
        ev_io_init(&p->io, on_peer, fd, EV_READ);
        p->io.data = p;
        ev_io_start(loop, &p->io);
    }
    if (errno == EMFILE || errno == ENFILE) { /* watching on would keep the loop busy with nothing */
        ev_io_stop(loop, io);
        ev_timer_start(loop, &s->resume);
    }
}

struct rpc_server *rpc_server_new(struct ev_loop *loop, int fd, const struct rpc_method *methods, void *user)
{
    struct rpc_server *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    *s = (struct rpc_server){ .loop = loop, .fd = fd, .methods = methods, .user = user };
    ev_io_init(&s->io, on_accept, fd, EV_READ);
    ev_timer_init(&s->resume, on_resume, 1., 0.);
    s->io.data = s->resume.data = s;
    ev_io_start(loop, &s->io);
    return s;
}

void rpc_server_free(struct rpc_server *s)
{
    if (s == NULL)
        return;
    while (s->peers != NULL)
        peer_free(s->peers);
    ev_io_stop(s->loop, &s->io);
    ev_timer_stop(s->loop, &s->resume);
    free(s);
}
