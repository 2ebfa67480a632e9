#include "base/log.h"

#include "base/clock.h"
#include "base/log_text.h"
#include "base/redact.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* A line is one write(2) of at most PIPE_BUF bytes, so that lines of several processes on one pipe do not mix. */
enum { LINE_MAX_BYTES = 4096, VALUE_MAX = 1024, END_BYTES = 16, JOURNAL_BYTES = 12288 };

/* The process-wide settings; set once by main before threads start; level and format also by a reload, while others log. */
static _Atomic enum log_level log_min = LOG_LEVEL_INFO;
static _Atomic enum log_format log_shape = LOG_FORMAT_FMT;
static int log_fd = STDERR_FILENO;
static int journal_fd = -1;

static const char *const level_names[] = { "debug", "info", "warn", "error" };

struct line {
    size_t n, room;
    bool json, cut;
    char b[LINE_MAX_BYTES];
};

static void put(struct line *l, const char *p, size_t n)
{
    if (n > l->room - l->n)
        n = l->room - l->n;
    memcpy(l->b + l->n, p, n);
    l->n += n;
}

/* `s`, or a copy in `raw` without the secrets in it and cut to VALUE_MAX. Escapes hide a secret's bytes, so it must be found before them. */
static struct slice value_clean(struct slice s, char raw[VALUE_MAX + 1], bool *cut)
{
    size_t n = s.n < VALUE_MAX ? s.n : VALUE_MAX;

    *cut = n < s.n;
    if (!*cut && log_text_plain(s))
        return s; /* the line as a whole is looked through */
    if (n > 0)
        memcpy(raw, s.p, n);
    if (*cut)
        return slice_make(raw, redact_text(raw, n)); /* the beginning of a secret at its end is known as one */
    raw[n] = '\0';
    return slice_make(raw, redact_text(raw, n + 1) - 1);
}

static void put_value(struct line *l, struct slice s)
{
    char raw[VALUE_MAX + 1];
    size_t used;
    bool cut;

    if (s.n <= VALUE_MAX && s.n + 2 <= l->room - l->n && log_text_plain(s)) { /* nearly all; the line as a whole is looked through for secrets */
        put(l, "\"", l->json);
        put(l, s.p, s.n);
        put(l, "\"", l->json);
        return;
    }
    s = value_clean(s, raw, &cut);
    put(l, "\"", 1);
    l->room -= 1;
    l->n += log_text_escape(l->json ? LOG_ESCAPE_JSON : LOG_ESCAPE_FMT, l->b + l->n, l->room - l->n, s, &used);
    l->room += 1;
    put(l, "\"", 1);
    l->cut = l->cut || cut || used < s.n;
}

/* Decimal; half of a line's fields are numbers, and printf costs more than all the rest. */
static void put_number(struct line *l, int64_t v)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;

    do
        digits[--at] = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (v < 0)
        digits[--at] = '-';
    put(l, digits + at, sizeof digits - at);
}

static void put_field(struct line *l, const struct log_field *f)
{
    size_t key = strlen(f->key);

    if (l->room - l->n < key + 32) {
        l->cut = true;
        return;
    }
    put(l, l->json ? ",\"" : " ", l->json ? 2 : 1);
    put(l, f->key, key);
    put(l, l->json ? "\":" : "=", l->json ? 2 : 1);
    if (f->type == LOG_FIELD_STR)
        put_value(l, f->s);
    else if (f->type == LOG_FIELD_BOOL)
        put(l, f->i ? "true" : "false", f->i ? 4 : 5);
    else
        put_number(l, f->i);
}

static void put_begin(struct line *l, enum log_level level, const char *event)
{
    int64_t now = clock_wall_us();
    time_t sec = (time_t)(now / 1000000);
    struct tm tm;
    char when[40], tmp[160];

    gmtime_r(&sec, &tm);
    size_t k = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + k, sizeof when - k, ".%06" PRId64 "Z", now % 1000000);
    int n = snprintf(tmp, sizeof tmp, l->json ? "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"" : "%s %s %s", when, level_names[level], event);
    put(l, tmp, (size_t)n);
}

static void line_make(struct line *l, enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
    l->n = 0;
    l->room = LINE_MAX_BYTES - END_BYTES;
    l->json = atomic_load_explicit(&log_shape, memory_order_relaxed) == LOG_FORMAT_JSON;
    l->cut = false;
    put_begin(l, level, event);
    for (size_t i = 0; i < n; i++)
        put_field(l, &fields[i]);
    l->room = LINE_MAX_BYTES - 1;
    if (l->cut)
        put(l, l->json ? ",\"cut\":true" : " cut=true", l->json ? 11 : 9);
    if (l->json)
        put(l, "}", 1);
    l->n = redact_text(l->b, l->n);
}

/* ---- the journal -------------------------------------------------------------------------------------------------------- */

struct entry {
    char b[JOURNAL_BYTES];
    size_t n;
};

/* NAME=value; what does not fit is left out. */
static void entry_put(struct entry *e, const char *prefix, const char *name, struct slice v)
{
    char raw[VALUE_MAX + 1];
    size_t at = e->n, used;
    bool cut;

    if (sizeof e->b - e->n < strlen(prefix) + strlen(name) + 3)
        return;
    e->n += (size_t)sprintf(e->b + e->n, "%s", prefix);
    for (; *name != '\0'; name++)
        e->b[e->n++] = *name == '.' || *name == '-' ? '_' : (char)toupper((unsigned char)*name);
    e->b[e->n++] = '=';
    v = value_clean(v, raw, &cut);
    e->n += log_text_escape(LOG_ESCAPE_JOURNAL, e->b + e->n, sizeof e->b - e->n - 1, v, &used);
    e->b[e->n++] = '\n';
    if (used < v.n)
        e->n = at;
}

/* The native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of NAME=value lines. Values hold no line breaks, they are escaped. */
static bool journal_send(enum log_level level, const char *event, const struct line *l, const struct log_field *fields, size_t n)
{
    static const char *const priorities[] = { "7", "6", "4", "3" };
    struct entry e;
    char number[24];

    e.n = (size_t)sprintf(e.b, "PRIORITY=%s\nSYSLOG_IDENTIFIER=tollgate\nTOLLGATE_EVENT=%.64s\nMESSAGE=", priorities[level], event);
    /* The journal has time and level of its own; a JSON line stays whole. */
    const char *text = l->json ? l->b : memchr(l->b, ' ', l->n);
    text = l->json ? text : (const char *)memchr(text + 1, ' ', l->n - (size_t)(text + 1 - l->b)) + 1;
    size_t len = l->n - (size_t)(text - l->b);
    memcpy(e.b + e.n, text, len);
    e.n += len;
    e.b[e.n++] = '\n';
    for (size_t i = 0; i < n; i++) {
        snprintf(number, sizeof number, "%" PRId64, fields[i].i);
        entry_put(&e, "TOLLGATE_", fields[i].key, fields[i].type == LOG_FIELD_STR ? fields[i].s : fields[i].type == LOG_FIELD_INT ? slice_cstr(number)
                  : fields[i].i ? SLICE_LIT("true") : SLICE_LIT("false"));
    }
    e.n = redact_text(e.b, e.n);
    return send(journal_fd, e.b, e.n, MSG_NOSIGNAL) == (ssize_t)e.n;
}

bool log_use_journal(const char *stream, const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    unsigned long long device, inode;
    struct stat st;

    if (stream == NULL || sscanf(stream, "%llu:%llu", &device, &inode) != 2 || fstat(log_fd, &st) != 0 || st.st_dev != device || st.st_ino != inode ||
        strlen(path) >= sizeof to.sun_path)
        return false;
    strcpy(to.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        journal_fd = fd;
        return true;
    }
    if (fd >= 0)
        close(fd);
    return false;
}

void log_emit(enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
    struct line l;

    if (level < atomic_load_explicit(&log_min, memory_order_relaxed))
        return;
    line_make(&l, level, event, fields, n);
    if (journal_fd >= 0 && journal_send(level, event, &l, fields, n))
        return;
    l.b[l.n++] = '\n';
    ssize_t done = write(log_fd, l.b, l.n);
    (void)done; /* nowhere left to report it */
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_min, level, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
    atomic_store_explicit(&log_shape, format, memory_order_relaxed);
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
