#include "base/log.h"

#include "base/clock.h"
#include "base/redact.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 };

/* The two process-wide settings; set once by main before threads start, and by reload. */
static _Atomic enum log_level log_min = LOG_LEVEL_INFO; /* a reload changes it while others log */
static int log_fd = STDERR_FILENO;

struct line {
    char b[LINE_MAX_BYTES];
    size_t n;
};

static void put(struct line *l, const char *p, size_t n)
{
    size_t room = sizeof l->b - 1 - l->n; /* one byte is kept for the newline */
    if (n > room)
        n = room;
    memcpy(l->b + l->n, p, n);
    l->n += n;
}

static bool plain(struct slice s)
{
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
            return false;
    }
    return true;
}

/* Bytes outside printable ASCII are written \xNN: a log line is ASCII whatever the peer sent. */
static void put_value(struct line *l, struct slice s)
{
    if (plain(s)) {
        put(l, s.p, s.n);
        return;
    }
    size_t i = 0;
    put(l, "\"", 1);
    for (; i < s.n && l->n < sizeof l->b - 8; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char x[5];
        if (c == '"' || c == '\\') {
            put(l, (char[]){ '\\', (char)c }, 2);
        } else if (c < ' ' || c >= 0x7f) {
            snprintf(x, sizeof x, "\\x%02x", c);
            put(l, x, 4);
        } else {
            put(l, s.p + i, 1);
        }
    }
    if (i < s.n)
        l->n = redact_text(l->b, l->n); /* a secret that was cut in two is known as one only at the end of the text */
    put(l, "\"", 1);
}

void log_emit(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    struct line l = { .n = 0 };
    char tmp[64];

    if (level < atomic_load_explicit(&log_min, memory_order_relaxed))
        return;
    int64_t now = clock_wall_us();
    time_t sec = (time_t)(now / 1000000);
    struct tm tm;
    gmtime_r(&sec, &tm);
    size_t k = strftime(tmp, sizeof tmp, "%Y-%m-%dT%H:%M:%S", &tm);
    int more = snprintf(tmp + k, sizeof tmp - k, ".%06" PRId64 "Z %s ", now % 1000000, names[level]);
    put(&l, tmp, k + (size_t)more);
    put(&l, event, strlen(event));
    for (size_t i = 0; i < n; i++) {
        put(&l, " ", 1);
        put(&l, fields[i].key, strlen(fields[i].key));
        put(&l, "=", 1);
        if (fields[i].type == LOG_FIELD_INT) {
            more = snprintf(tmp, sizeof tmp, "%" PRId64, fields[i].i);
            put(&l, tmp, (size_t)more);
        } else {
            put_value(&l, fields[i].s);
        }
    }
    l.n = redact_text(l.b, l.n);
    l.b[l.n++] = '\n';
    ssize_t done = write(log_fd, l.b, l.n);
    (void)done; /* nowhere left to report it */
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_min, level, memory_order_relaxed);
}

void log_set_fd(int fd)
{
    log_fd = fd;
}

bool log_gate_open(struct log_gate *g, int64_t mono_us, unsigned per_second, unsigned *suppressed)
{
    int64_t second = mono_us / 1000000;

    if (second != atomic_load_explicit(&g->second, memory_order_relaxed)) {
        atomic_store_explicit(&g->second, second, memory_order_relaxed);
        atomic_store_explicit(&g->passed, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&g->passed, 1, memory_order_relaxed) >= per_second) {
        atomic_fetch_add_explicit(&g->held, 1, memory_order_relaxed);
        return false;
    }
    *suppressed = atomic_exchange_explicit(&g->held, 0, memory_order_relaxed);
    return true;
}
