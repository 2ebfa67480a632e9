/* An SPOP agent that does nothing but answer: the yardstick for the real one's decisions.
 *
 *     bench_spoe_null PORT [THREADS]
 *
 * Same library, same loop, same number of threads as tollgate; each NOTIFY gets an ACK that sets one variable. Ends with SIGTERM. */
#include "spop_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024, THREADS_MAX = 64 };

struct peer {
    ev_io io;
    struct spop_conn *conn;
};

static void notify(void *user, struct spop_conn *conn, struct spop_notify *n)
{
    struct spop_ack ack;
    (void)user;
    spop_conn_ack_begin(conn, n->ticket, &ack);
    spop_ack_set_bool(&ack, SPOP_TXN, SPOP_BYTES("ok"), true);
    spop_conn_ack_end(conn, &ack);
}

static const struct spop_conn_handler handler = { .notify = notify };

static void peer_free(struct ev_loop *loop, struct peer *p)
{
    ev_io_stop(loop, &p->io);
    close(p->io.fd);
    spop_conn_free(p->conn);
    free(p);
}

static void on_peer(struct ev_loop *loop, ev_io *io, int events)
{
    static __thread char buffer[READ_BYTES];
    struct peer *p = (struct peer *)io;
    const void *out;
    size_t n;
    (void)events;

    ssize_t got = read(io->fd, buffer, sizeof buffer);
    if (got > 0)
        spop_conn_feed(p->conn, buffer, (size_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        spop_conn_eof(p->conn);
    while (spop_conn_output(p->conn, &out, &n)) {
        ssize_t sent = write(io->fd, out, n);
        if (sent <= 0)
            break;
        spop_conn_sent(p->conn, (size_t)sent);
    }
    int want = EV_READ | (spop_conn_output(p->conn, &out, &n) ? EV_WRITE : 0);
    if (spop_conn_state(p->conn) == SPOP_CONN_CLOSED) {
        peer_free(loop, p);
    } else if (want != (io->events & (EV_READ | EV_WRITE))) {
        ev_io_stop(loop, io);
        ev_io_set(io, io->fd, want);
        ev_io_start(loop, io);
    }
}

static void on_listener(struct ev_loop *loop, ev_io *io, int events)
{
    const int on = 1;
    int fd;
    (void)events;

    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct peer *p = calloc(1, sizeof *p);
        if (p == NULL || (p->conn = spop_conn_new(NULL, &handler, p)) == NULL)
            abort();
        ev_io_init(&p->io, on_peer, fd, EV_READ);
        ev_io_start(loop, &p->io);
    }
}

static void *serve(void *user)
{
    const struct sockaddr_in *at = user;
    const int on = 1;
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ev_io listener;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (loop == NULL || bind(fd, (const struct sockaddr *)at, sizeof *at) != 0 || listen(fd, 1024) != 0) {
        perror("bench_spoe_null: listen");
        exit(1);
    }
    ev_io_init(&listener, on_listener, fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    int count = argc > 2 ? atoi(argv[2]) : 2;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    if (argc < 2 || count < 1 || count > THREADS_MAX) {
        fprintf(stderr, "usage: bench_spoe_null PORT [THREADS]\n");
        return 2;
    }
    at.sin_port = htons((uint16_t)atoi(argv[1]));
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < count; i++)
        if (pthread_create(&threads[i], NULL, serve, &at) != 0)
            return 1;
    serve(&at);
    return 0;
}
