#include "console/private.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Decisions and settlements as they happen, as server-sent events: first the newest rows of the ledger, then what the agent tells, each request
 * once when it is decided and once when it is settled. Every stream asks for itself; a busy moment's overflow is counted, not shown. */

enum { STREAMS_MAX = 24, TICK_MS = 500, FIRST = 30, ROWS_MAX = 200, QUIET_TICKS = 30, ANSWER_MS = 3000 };

struct stream {
    struct console *c;
    struct exchange who; /* for the scope; its connection is not used */
    char cookie[SESSION_COOKIE];
    uint64_t cursor;
    bool begun, over;
    int quiet;
    char *text; /* not yet sent */
    size_t n, sent;
};

#define COLUMNS                                                                                                        \
    "SELECT r.id, r.request_id, r.started_us, w.team, w.user_name AS user, r.alias, coalesce(t.provider, '') AS provider, r.state,"  \
    " r.deny_reason, r.http_status, r.outcome, r.hold_nano, r.cost_nano, r.ttft_us, r.total_us, r.fallback"                         \
    " FROM request_row AS r JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan) WHERE "

static void event_put(FILE *out, const char *json, size_t n)
{
    fprintf(out, "event: request\ndata: %.*s\n\n", (int)n, json);
}

/* The newest rows, the oldest of them first. */
static void first_rows(struct stream *s, FILE *out)
{
    struct question q = { .limit = FIRST };
    sqlite3 *db = data_take(s->c->data, ANSWER_MS);

    if (db == NULL)
        return;
    api_scope(&s->who, &q);
    sqlite3_stmt *newest = data_ask(db, "SELECT coalesce(max(id), 0) FROM request_row", &q);
    q.id = newest != NULL && sqlite3_step(newest) == SQLITE_ROW ? sqlite3_column_int64(newest, 0) - FIRST : 0;
    sqlite3_finalize(newest);
    sqlite3_stmt *ask = data_ask(db, COLUMNS "r.id > :id AND " DATA_SCOPE " ORDER BY r.id LIMIT :limit", &q);
    while (ask != NULL && sqlite3_step(ask) == SQLITE_ROW) {
        fputs("event: request\ndata: ", out);
        json_row(out, ask);
        fputs("\n\n", out);
    }
    sqlite3_finalize(ask);
    data_give(s->c->data, db);
}

/* What happened since the last look. */
static void look(struct stream *s, FILE *out)
{
    const struct console_options *o = &s->c->o;
    char *lines = NULL;
    size_t n = 0;

    if (!s->begun) {
        s->cursor = o->now(o->user); /* before the rows are read: what comes meanwhile is told again */
        first_rows(s, out);
        return;
    }
    FILE *json = open_memstream(&lines, &n);
    if (json == NULL)
        return;
    uint64_t more = o->happened(o->user, &s->who.who, &s->cursor, ROWS_MAX, json);
    if (fclose(json) == 0) {
        if (more > 0)
            fprintf(out, "event: skipped\ndata: %" PRIu64 "\n\n", more);
        for (char *line = lines, *end; line < lines + n && (end = memchr(line, '\n', n - (size_t)(line - lines))) != NULL; line = end + 1)
            event_put(out, line, (size_t)(end - line));
    }
    free(lines);
}

static void tick(struct stream *s)
{
    struct console_person who;
    FILE *out;

    free(s->text);
    s->text = NULL;
    s->n = s->sent = 0;
    if ((out = open_memstream(&s->text, &s->n)) == NULL) {
        s->over = true;
        return;
    }
    if (!sessions_find(s->c->sessions, slice_cstr(s->cookie), clock_wall_us(), &who)) {
        fputs("event: over\ndata: {}\n\n", out);
        s->over = true;
    } else {
        if (!s->begun)
            fputs("retry: 3000\n\n", out);
        look(s, out);
        s->begun = true;
    }
    if (ftell(out) == 0 && ++s->quiet >= QUIET_TICKS) {
        fputs(": still here\n\n", out); /* for proxies that close silent connections, and to notice that nobody reads */
        s->quiet = 0;
    }
    if (fclose(out) != 0)
        s->over = true;
}

/* Blocks for up to a tick: the connection has this thread to itself. */
static ssize_t on_read(void *user, uint64_t at, char *buf, size_t max)
{
    struct stream *s = user;

    (void)at;
    while (s->sent == s->n) {
        if (s->over || (s->begun && console_pause(s->c, TICK_MS)))
            return MHD_CONTENT_READER_END_OF_STREAM;
        tick(s);
    }
    size_t n = s->n - s->sent < max ? s->n - s->sent : max;
    memcpy(buf, s->text + s->sent, n);
    s->sent += n;
    return (ssize_t)n;
}

static void on_end(void *user)
{
    struct stream *s = user;

    atomic_fetch_sub(&s->c->streams, 1);
    free(s->text);
    free(s);
}

enum MHD_Result live_handle(struct exchange *x)
{
    struct slice cookie = http_cookie(x, x->c->session_cookie);

    if (atomic_fetch_add(&x->c->streams, 1) >= STREAMS_MAX) {
        atomic_fetch_sub(&x->c->streams, 1);
        return http_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "too many people are watching; try again later");
    }
    struct stream *s = calloc(1, sizeof *s);
    if (s != NULL) {
        *s = (struct stream){ .c = x->c, .who = *x };
        s->who.connection = NULL;
        snprintf(s->cookie, sizeof s->cookie, "%.*s", SLICE_FMT(cookie));
    }
    struct MHD_Response *r = s == NULL ? NULL : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, on_read, s, on_end);
    if (r == NULL) {
        atomic_fetch_sub(&x->c->streams, 1);
        free(s);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", "text/event-stream");
    MHD_add_response_header(r, "X-Accel-Buffering", "no");
    return http_queue(x, MHD_HTTP_OK, r);
}
