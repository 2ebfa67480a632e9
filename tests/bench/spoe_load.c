/* Asks an SPOP agent for decisions as fast as it gives them, the way HAProxy would: haproxy/tollgate-spoe.conf's one message, several
 * connections, several NOTIFYs in flight on each. Where the body holds "@@@@@@@@", each request gets a number of its own there, so that
 * no cache knows its text.
 *
 *     bench_spoe_load HOST:PORT CONNECTIONS IN_FLIGHT REQUESTS PID TOKEN_FILE BODY_FILE
 *
 * One line of JSON: decisions per second, the agent's CPU microseconds for each (from /proc/PID/stat), latency percentiles in
 * microseconds, and how many answers allowed the request. */
#include "spop_codec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 512, IN_FLIGHT_MAX = 1024, FRAME_MAX = 2 << 20, ID_BYTES = 36, ANSWER_BYTES = 1 << 20 };

struct link {
    int fd;
    uint64_t next_id;                /* frame ids from 1 */
    uint64_t sent_ns[IN_FLIGHT_MAX]; /* by frame id modulo IN_FLIGHT_MAX */
    unsigned in_flight;
    uint8_t *in, *out;
    size_t in_n, out_n, out_at;
};

struct load {
    struct link *links;
    unsigned connections, depth;
    uint8_t payload[FRAME_MAX];
    size_t payload_n, id_at, number_at; /* number_at 0: none */
    uint64_t asked, answered, allowed, wanted;
    uint32_t *latency_us;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_spoe_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(const char *pid)
{
    char path[64], text[1024];
    unsigned long user = 0, kernel = 0;

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(text, sizeof text, f) == NULL)
        die(path);
    fclose(f);
    /* proc(5): utime and stime are fields 14 and 15; the name in field 2 may hold blanks, so count from behind its ')'. */
    char *after = strrchr(text, ')');
    if (after == NULL || sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        die(path);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static char *file_text(const char *path, size_t *n)
{
    char *text = malloc(FRAME_MAX);
    FILE *f = fopen(path, "r");
    if (f == NULL || text == NULL)
        die(path);
    *n = fread(text, 1, FRAME_MAX - 1, f);
    fclose(f);
    text[*n] = '\0';
    return text;
}

static void put(struct load *l, const char *name, struct spop_value v)
{
    size_t room = sizeof l->payload - l->payload_n;
    size_t n = spop_put_string(l->payload + l->payload_n, room, (struct spop_bytes){ name, strlen(name) });
    size_t m = n ? spop_put_value(l->payload + l->payload_n + n, room - n, &v) : 0;
    if (m == 0)
        die("the message is too large");
    l->payload_n += n + m;
}

static struct spop_value text(const char *s, size_t n)
{
    return (struct spop_value){ .type = SPOP_STRING, .bytes = { s, n } };
}
#define TEXT(s) text(s, strlen(s))

static void payload_make(struct load *l, const char *token_file, const char *body_file)
{
    size_t token_n, body_n;
    char *token = file_text(token_file, &token_n), *body = file_text(body_file, &body_n), auth[20000], length[32];

    token[strcspn(token, "\r\n")] = '\0';
    snprintf(auth, sizeof auth, "Bearer %s", token);
    snprintf(length, sizeof length, "%zu", body_n);
    l->payload_n = spop_put_string(l->payload, sizeof l->payload, SPOP_BYTES("llm-request"));
    l->payload[l->payload_n++] = 13;
    put(l, "id", TEXT("00000000-0000-0000-0000-000000000000"));
    l->id_at = l->payload_n - ID_BYTES;
    put(l, "ip", (struct spop_value){ .type = SPOP_IPV4, .bytes = { "\x7f\0\0\1", 4 } });
    put(l, "method", TEXT("POST"));
    put(l, "path", TEXT("/v1/chat/completions"));
    put(l, "query", TEXT(""));
    put(l, "auth", TEXT(auth));
    put(l, "apikey", (struct spop_value){ .type = SPOP_NULL });
    put(l, "ctype", TEXT("application/json"));
    put(l, "cenc", (struct spop_value){ .type = SPOP_NULL });
    put(l, "ua", TEXT("bench"));
    put(l, "cl", TEXT(length));
    put(l, "blen", (struct spop_value){ .type = SPOP_INT64, .integer = body_n });
    put(l, "body", (struct spop_value){ .type = SPOP_BINARY, .bytes = { body, body_n } });
    const uint8_t *number = memmem(l->payload, l->payload_n, "@@@@@@@@", 8);
    l->number_at = number != NULL ? (size_t)(number - l->payload) : 0;
    free(token);
    free(body);
}

static void ask(struct load *l, struct link *k)
{
    uint8_t ids[2 * SPOP_VARINT_MAX];
    char id[ID_BYTES + 1];

    snprintf(id, sizeof id, "%08x-0000-4000-8000-%012llx", (unsigned)getpid(), (unsigned long long)(l->asked++ & 0xffffffffffff));
    memcpy(l->payload + l->id_at, id, ID_BYTES);
    if (l->number_at > 0)
        memcpy(l->payload + l->number_at, id + ID_BYTES - 8, 8);
    size_t n = spop_varint_encode(ids, 1);
    n += spop_varint_encode(ids + n, ++k->next_id);
    k->sent_ns[k->next_id % IN_FLIGHT_MAX] = now_ns();
    k->out_n += spop_frame_encode(k->out + k->out_n, 2 * FRAME_MAX - k->out_n, SPOP_NOTIFY, (struct spop_bytes){ (char *)ids, n },
                                  (struct spop_bytes){ (char *)l->payload, l->payload_n });
    k->in_flight++;
}

static void answered(struct load *l, struct link *k, struct spop_bytes frame)
{
    struct spop_frame f;

    if (spop_frame_parse(frame, &f) != 0 || f.type != SPOP_ACK) {
        fprintf(stderr, "bench_spoe_load: the agent answered with a frame of type %u\n", frame.n ? (uint8_t)frame.p[0] : 0u);
        exit(1);
    }
    l->latency_us[l->answered++] = (uint32_t)((now_ns() - k->sent_ns[f.frame_id % IN_FLIGHT_MAX]) / 1000);
    l->allowed += memmem(f.payload.p, f.payload.n, "\x03pri", 4) != NULL;
    k->in_flight--;
}

static uint32_t frame_length(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void link_read(struct load *l, struct link *k)
{
    size_t at = 0;
    ssize_t got = read(k->fd, k->in + k->in_n, ANSWER_BYTES - k->in_n);

    if (got <= 0)
        die("the agent closed the connection");
    k->in_n += (size_t)got;
    while (k->in_n - at >= SPOP_LENGTH_BYTES && k->in_n - at - SPOP_LENGTH_BYTES >= frame_length(k->in + at)) {
        size_t n = frame_length(k->in + at);
        answered(l, k, (struct spop_bytes){ (char *)k->in + at + SPOP_LENGTH_BYTES, n });
        at += SPOP_LENGTH_BYTES + n;
    }
    memmove(k->in, k->in + at, k->in_n - at);
    k->in_n -= at;
}

static void link_write(struct load *l, struct link *k)
{
    if (k->out_at == k->out_n)
        k->out_at = k->out_n = 0;
    while (k->in_flight < l->depth && l->asked < l->wanted && 2 * FRAME_MAX - k->out_n > l->payload_n + 64)
        ask(l, k);
    if (k->out_at == k->out_n)
        return;
    ssize_t sent = send(k->fd, k->out + k->out_at, k->out_n - k->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        die("send");
    k->out_at += sent > 0 ? (size_t)sent : 0;
}

/* Connects and says hello, blocking. */
static void link_open(struct link *k, const struct sockaddr_in *at)
{
    static const char *const keys[][2] = { { "supported-versions", "2.0" }, { "capabilities", "pipelining" } };
    uint8_t hello[512], answer[4096];
    size_t n = 0;
    const int on = 1;

    k->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(k->fd, (const struct sockaddr *)at, sizeof *at) != 0)
        die("connect");
    setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (size_t i = 0; i < 2; i++) {
        struct spop_value v = TEXT(keys[i][1]);
        n += spop_put_string(hello + n, sizeof hello - n, (struct spop_bytes){ keys[i][0], strlen(keys[i][0]) });
        n += spop_put_value(hello + n, sizeof hello - n, &v);
    }
    struct spop_value size = { .type = SPOP_UINT32, .integer = FRAME_MAX };
    n += spop_put_string(hello + n, sizeof hello - n, SPOP_BYTES("max-frame-size"));
    n += spop_put_value(hello + n, sizeof hello - n, &size);
    uint8_t frame[600];
    size_t m = spop_frame_encode(frame, sizeof frame, SPOP_HAPROXY_HELLO, (struct spop_bytes){ NULL, 0 },
                                 (struct spop_bytes){ (char *)hello, n });
    if (write(k->fd, frame, m) != (ssize_t)m || recv(k->fd, answer, 4, MSG_WAITALL) != 4 || frame_length(answer) > sizeof answer ||
        recv(k->fd, answer, frame_length(answer), MSG_WAITALL) <= 0 || answer[0] != SPOP_AGENT_HELLO)
        die("hello");
    k->in = malloc(ANSWER_BYTES);
    k->out = malloc(2 * FRAME_MAX);
    if (k->in == NULL || k->out == NULL)
        die("memory");
}

static void run(struct load *l)
{
    struct pollfd polls[CONNECTIONS_MAX];

    while (l->answered < l->wanted) {
        for (unsigned i = 0; i < l->connections; i++) {
            link_write(l, &l->links[i]);
            polls[i] = (struct pollfd){ .fd = l->links[i].fd, .events = (short)(POLLIN | (l->links[i].out_n > l->links[i].out_at ? POLLOUT : 0)) };
        }
        if (poll(polls, l->connections, 10000) <= 0)
            die("no answer for 10 s");
        for (unsigned i = 0; i < l->connections; i++)
            if (polls[i].revents & (POLLIN | POLLHUP | POLLERR))
                link_read(l, &l->links[i]);
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static struct load l;
    struct sockaddr_in at = { .sin_family = AF_INET };

    if (argc != 8) {
        fprintf(stderr, "usage: bench_spoe_load HOST:PORT CONNECTIONS IN_FLIGHT REQUESTS PID TOKEN_FILE BODY_FILE\n");
        return 2;
    }
    char *colon = strrchr(argv[1], ':');
    l.connections = (unsigned)atoi(argv[2]);
    l.depth = (unsigned)atoi(argv[3]);
    l.wanted = strtoull(argv[4], NULL, 10);
    if (colon == NULL || l.connections < 1 || l.connections > CONNECTIONS_MAX || l.depth < 1 || l.depth >= IN_FLIGHT_MAX || l.wanted < 1) {
        fprintf(stderr, "bench_spoe_load: at most %d connections and %d in flight\n", CONNECTIONS_MAX, IN_FLIGHT_MAX - 1);
        return 2;
    }
    *colon = '\0';
    at.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1)
        die(argv[1]);
    payload_make(&l, argv[6], argv[7]);
    l.links = calloc(l.connections, sizeof *l.links);
    l.latency_us = calloc(l.wanted, sizeof *l.latency_us);
    if (l.links == NULL || l.latency_us == NULL)
        die("memory");
    for (unsigned i = 0; i < l.connections; i++)
        link_open(&l.links[i], &at);
    double cpu = cpu_seconds(argv[5]);
    uint64_t began = now_ns();
    run(&l);
    double seconds = (double)(now_ns() - began) / 1e9;
    cpu = cpu_seconds(argv[5]) - cpu;
    qsort(l.latency_us, l.wanted, sizeof *l.latency_us, by_value);
    printf("{\"decisions_per_second\": %.0f, \"cpu_us\": %.2f, \"p50_us\": %u, \"p99_us\": %u, \"answered\": %llu, \"allowed\": %llu}\n",
           (double)l.answered / seconds, cpu * 1e6 / (double)l.answered, l.latency_us[l.wanted / 2], l.latency_us[l.wanted * 99 / 100],
           (unsigned long long)l.answered, (unsigned long long)l.allowed);
    return 0;
}
