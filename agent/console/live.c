#include "console/private.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Decisions as they reach the ledger, as server-sent events: each new row once when it is decided and once when it is settled. Every
 * stream looks for itself, once a second; a busy second's overflow is counted, not shown. */

enum { STREAMS_MAX = 24, TICK_MS = 1000, FIRST = 30, ROWS_MAX = 200, OPEN_MAX = 500, QUIET_TICKS = 15, ANSWER_MS = 3000 };

struct stream {
    struct console *c;
    struct exchange who; /* for the scope; its connection is not used */
    char cookie[SESSION_COOKIE];
    int64_t last_id;
    int64_t open[OPEN_MAX];
    size_t open_count;
    bool begun, over;
    int quiet;
    char *text; /* not yet sent */
    size_t n, sent;
};

#define COLUMNS                                                                                                        \
    "SELECT r.id, r.request_id, r.started_us, w.team, w.user_name AS user, r.alias, coalesce(t.provider, '') AS provider, r.state,"  \
    " r.deny_reason, r.http_status, r.outcome, r.hold_nano, r.cost_nano, r.ttft_us, r.total_us, r.fallback"                         \
    " FROM request_row AS r JOIN who AS w ON w.id = r.who LEFT JOIN target AS t ON t.id = coalesce(r.served, r.plan) WHERE "

static void open_add(struct stream *s, int64_t id)
{
    if (s->open_count == OPEN_MAX) {
        memmove(s->open, s->open + 1, (OPEN_MAX - 1) * sizeof *s->open);
        s->open_count--;
    }
    s->open[s->open_count++] = id;
}

static void open_remove(struct stream *s, int64_t id)
{
    for (size_t i = 0; i < s->open_count; i++)
        if (s->open[i] == id) {
            memmove(s->open + i, s->open + i + 1, (s->open_count - i - 1) * sizeof *s->open);
            s->open_count--;
            return;
        }
}

static void rows_put(struct stream *s, sqlite3_stmt *ask, FILE *out)
{
    while (ask != NULL && sqlite3_step(ask) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(ask, 0);
        if (sqlite3_column_int(ask, 7) == 0)
            open_add(s, id);
        else
            open_remove(s, id);
        fputs("event: request\ndata: ", out);
        json_row(out, ask);
        fputs("\n\n", out);
    }
    sqlite3_finalize(ask);
}

static sqlite3_stmt *settled_ask(sqlite3 *db, const struct stream *s, const struct question *q)
{
    char *ids = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&ids, &n);

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < s->open_count; i++)
        fprintf(out, "%s%" PRId64, i > 0 ? "," : "[", s->open[i]);
    fputs(s->open_count > 0 ? "]" : "[]", out);
    sqlite3_stmt *ask = fclose(out) == 0 ? data_ask(db, COLUMNS "r.id IN (SELECT value FROM json_each(:ids)) AND r.state <> 0", q) : NULL;
    if (ask != NULL)
        data_bind_text(ask, ":ids", ids);
    free(ids);
    return ask;
}

static int64_t number_of(sqlite3 *db, const char *sql, const struct question *q)
{
    sqlite3_stmt *ask = data_ask(db, sql, q);
    int64_t v = ask != NULL && sqlite3_step(ask) == SQLITE_ROW ? sqlite3_column_int64(ask, 0) : 0;
    sqlite3_finalize(ask);
    return v;
}

/* What happened since the last look. */
static void look(struct stream *s, FILE *out)
{
    struct question q = { .limit = ROWS_MAX };
    sqlite3 *db = data_take(s->c->data, ANSWER_MS);

    if (db == NULL)
        return;
    api_scope(&s->who, &q);
    int64_t newest = number_of(db, "SELECT coalesce(max(id), 0) FROM request_row", &q), from = s->last_id;
    if (!s->begun) {
        from = newest > FIRST ? newest - FIRST : 0;
    } else if (newest - from > ROWS_MAX) {
        fprintf(out, "event: skipped\ndata: %" PRId64 "\n\n", newest - from - ROWS_MAX);
        from = newest - ROWS_MAX;
    }
    rows_put(s, s->begun && s->open_count > 0 ? settled_ask(db, s, &q) : NULL, out);
    if (newest > from) {
        q.id = from;
        rows_put(s, data_ask(db, COLUMNS "r.id > :id AND " DATA_SCOPE " ORDER BY r.id LIMIT :limit", &q), out);
        s->last_id = newest;
    }
    data_give(s->c->data, db);
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
