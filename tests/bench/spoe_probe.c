/* Sends every hostile frame of the unit tests to a running agent, whole and byte by byte, and says what came back.
 *
 *     bench_spoe_probe HOST:PORT | UNIX_PATH
 *
 * Each must be refused with its DISCONNECT code and the connection closed within two seconds; after all of them a good HELLO and NOTIFY
 * must still get their answers. Exit 0 when all of it held. The agent's max-frame-size is taken to be at most 4 MiB + 64 KiB. */
#include "../unit/spoe/spoe_hostile.h"
#include "spop_codec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, REPLY_BYTES = 4096 };

struct reply {
    uint8_t bytes[REPLY_BYTES];
    size_t n;
    bool closed;
};

static int dial(const char *where)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    struct sockaddr_in inet = { .sin_family = AF_INET };
    const char *colon = strrchr(where, ':');
    bool is_path = strchr(where, '/') != NULL || colon == NULL;
    int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
    if (fd < 0)
        return -1;
    if (is_path) {
        snprintf(local.sun_path, sizeof local.sun_path, "%s", where);
        rc = connect(fd, (struct sockaddr *)&local, sizeof local);
    } else {
        char host[64];
        int one = 1;
        snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
        inet.sin_port = htons((uint16_t)atoi(colon + 1));
        rc = inet_pton(AF_INET, host, &inet.sin_addr) == 1 ? connect(fd, (struct sockaddr *)&inet, sizeof inet) : -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

/* Reads until `want` frames are there, the peer closes, or patience ends. */
static void listen_for(int fd, struct reply *r, unsigned want)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    for (;;) {
        struct spop_cursor c = spop_cursor_make((struct spop_bytes){ (const char *)r->bytes, r->n });
        unsigned frames = 0;
        while (spop_cursor_left(&c) >= 4) {
            uint32_t length = spop_read_u32(&c);
            (void)spop_read_bytes(&c, length);
            frames += !c.bad;
        }
        if (frames >= want || r->n == sizeof r->bytes || poll(&p, 1, PATIENCE_MS) <= 0)
            return;
        ssize_t k = read(fd, r->bytes + r->n, sizeof r->bytes - r->n);
        if (k <= 0) {
            r->closed = k == 0 || errno == ECONNRESET;
            return;
        }
        r->n += (size_t)k;
    }
}

/* The agent may have closed already: what it said counts, not whether all was sent. */
static void say(int fd, const char *bytes, size_t n, bool in_pieces)
{
    for (size_t at = 0, k; at < n; at += k) {
        k = in_pieces ? 1 : n - at;
        if (send(fd, bytes + at, k, MSG_NOSIGNAL) != (ssize_t)k)
            return;
    }
}

/* Takes the first frame off the reply; false when there is none. */
static bool next_frame(struct reply *r, struct spop_frame *f)
{
    struct spop_cursor c = spop_cursor_make((struct spop_bytes){ (const char *)r->bytes, r->n });
    uint32_t length = spop_read_u32(&c);
    struct spop_bytes b = spop_read_bytes(&c, length);
    static uint8_t kept[REPLY_BYTES];
    if (c.bad)
        return false;
    memcpy(kept, b.p, b.n);
    r->n -= 4 + b.n;
    memmove(r->bytes, r->bytes + 4 + b.n, r->n);
    return spop_frame_parse((struct spop_bytes){ (const char *)kept, b.n }, f) == 0;
}

static int status_of(struct spop_bytes payload)
{
    struct spop_cursor c = spop_cursor_make(payload);
    while (spop_cursor_left(&c) != 0) {
        struct spop_bytes key = spop_read_string(&c);
        struct spop_value v = spop_read_value(&c);
        if (!c.bad && spop_bytes_eq(key, SPOP_BYTES("status-code")))
            return (int)v.integer;
    }
    return -1;
}

/* A connection with its HELLO answered, or -1. */
static int dial_and_hello(const char *where, struct reply *r)
{
    struct spop_frame f;
    int fd = dial(where);
    if (fd < 0)
        return -1;
    say(fd, BYTES(HELLO_26), false);
    listen_for(fd, r, 1);
    if (next_frame(r, &f) && f.type == SPOP_AGENT_HELLO)
        return fd;
    close(fd);
    return -1;
}

static bool probe(const char *where, const struct hostile *h, bool in_pieces)
{
    struct reply r = { .n = 0 };
    struct spop_frame f;
    const char *fault = NULL;
    int code = -1;
    int fd = h->opened ? dial_and_hello(where, &r) : dial(where);
    if (fd < 0) {
        printf("FAIL %-48s the agent does not answer any more\n", h->rule);
        return false;
    }
    say(fd, h->bytes, h->n, in_pieces);
    listen_for(fd, &r, 1);
    if (!next_frame(&r, &f))
        fault = r.closed ? "closed without a DISCONNECT" : "unanswered";
    else if (f.type != SPOP_AGENT_DISCONNECT)
        fault = "answered with another frame";
    else if ((code = status_of(f.payload)) != h->code)
        fault = "wrong code";
    if (!r.closed)
        listen_for(fd, &r, UINT32_MAX);
    close(fd);
    if (fault == NULL && !r.closed)
        fault = "connection stays open";
    printf("%s %-48s %s DISCONNECT %d, expected %d%s%s\n", fault ? "FAIL" : "ok  ", h->rule, in_pieces ? "pieces" : "whole ", code,
           h->code, fault ? ": " : "", fault ? fault : "");
    return fault == NULL;
}

static bool still_serves(const char *where)
{
    struct reply r = { .n = 0 };
    struct spop_frame f;
    int fd = dial_and_hello(where, &r);
    if (fd < 0)
        return false;
    say(fd, BYTES(NOTIFY_AB("\x07", "\x01")), false);
    listen_for(fd, &r, 1);
    close(fd);
    return next_frame(&r, &f) && f.type == SPOP_ACK && f.stream_id == 7 && f.frame_id == 1;
}

int main(int argc, char **argv)
{
    unsigned failed = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s HOST:PORT | UNIX_PATH\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < HOSTILE_FRAMES; i++)
        for (unsigned in_pieces = 0; in_pieces < 2; in_pieces++)
            failed += !probe(argv[1], &hostile_frames[i], in_pieces != 0);
    bool lives = still_serves(argv[1]);
    printf("%s HELLO and NOTIFY after all of it\n", lives ? "ok  " : "FAIL");
    printf("%u of %u probes failed\n", failed, 2u * HOSTILE_FRAMES);
    return failed != 0 || !lives;
}
