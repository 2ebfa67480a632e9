#include "console/data.h"

#include "base/clock.h"
#include "base/json_scan.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

enum { CONNECTIONS = 4, STEPS_PER_LOOK = 20000, BUSY_MS = 2000 };

struct connection {
    sqlite3 *db;
    int64_t until_us;
    bool taken;
};

struct data {
    char *file;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct connection connections[CONNECTIONS];
};

struct data *data_new(const char *file)
{
    struct data *d = calloc(1, sizeof *d);

    if (d == NULL || (d->file = strdup(file)) == NULL) {
        free(d);
        return NULL;
    }
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->freed, NULL);
    return d;
}

void data_free(struct data *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < CONNECTIONS; i++)
        sqlite3_close(d->connections[i].db);
    pthread_cond_destroy(&d->freed);
    pthread_mutex_destroy(&d->lock);
    free(d->file);
    free(d);
}

static int out_of_time(void *arg)
{
    const struct connection *c = arg;
    return clock_mono_us() > c->until_us;
}

static bool connection_open(struct data *d, struct connection *c)
{
    if (sqlite3_open_v2(d->file, &c->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        sqlite3_close(c->db);
        c->db = NULL;
        return false;
    }
    sqlite3_busy_timeout(c->db, BUSY_MS);
    sqlite3_exec(c->db, "PRAGMA query_only = 1; PRAGMA mmap_size = 268435456; PRAGMA cache_size = -16384", NULL, NULL, NULL);
    sqlite3_progress_handler(c->db, STEPS_PER_LOOK, out_of_time, c);
    return true;
}

sqlite3 *data_take(struct data *d, int64_t budget_ms)
{
    struct connection *c = NULL;

    pthread_mutex_lock(&d->lock);
    while (c == NULL) {
        for (size_t i = 0; i < CONNECTIONS && c == NULL; i++)
            if (!d->connections[i].taken)
                c = &d->connections[i];
        if (c == NULL)
            pthread_cond_wait(&d->freed, &d->lock);
    }
    c->taken = true;
    pthread_mutex_unlock(&d->lock);
    c->until_us = clock_mono_us() + budget_ms * 1000;
    if (c->db == NULL && !connection_open(d, c)) {
        pthread_mutex_lock(&d->lock);
        c->taken = false;
        pthread_cond_signal(&d->freed);
        pthread_mutex_unlock(&d->lock);
        return NULL;
    }
    return c->db;
}

void data_give(struct data *d, sqlite3 *db)
{
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (d->connections[i].db == db)
            d->connections[i].taken = false;
    pthread_cond_signal(&d->freed);
    pthread_mutex_unlock(&d->lock);
}

void data_bind(sqlite3_stmt *s, const char *name, int64_t value)
{
    int at = sqlite3_bind_parameter_index(s, name);
    if (at > 0)
        sqlite3_bind_int64(s, at, value);
}

void data_bind_text(sqlite3_stmt *s, const char *name, const char *value)
{
    int at = sqlite3_bind_parameter_index(s, name);
    if (at > 0 && value != NULL)
        sqlite3_bind_text(s, at, value, -1, SQLITE_TRANSIENT);
}

sqlite3_stmt *data_ask(sqlite3 *db, const char *sql, const struct question *q)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        return NULL;
    data_bind(s, ":from", q->from_s);
    data_bind(s, ":to", q->to_s);
    data_bind(s, ":from_us", q->from_s * 1000000);
    data_bind(s, ":to_us", q->to_s * 1000000);
    data_bind(s, ":step", q->step_s);
    data_bind(s, ":limit", q->limit);
    data_bind(s, ":id", q->id);
    data_bind(s, ":all", q->all);
    data_bind_text(s, ":scope_team", q->scope_team);
    data_bind_text(s, ":scope_organization", q->scope_organization);
    data_bind_text(s, ":team", q->team);
    data_bind_text(s, ":model", q->model);
    data_bind_text(s, ":user", q->user);
    data_bind_text(s, ":request_id", q->request_id);
    return s;
}

enum answer data_end(sqlite3 *db, sqlite3_stmt *s, int rc, char *why, size_t why_size)
{
    enum answer answer = s == NULL ? ANSWER_FAILED : rc == SQLITE_DONE ? ANSWER_GIVEN : rc == SQLITE_INTERRUPT ? ANSWER_TOO_LONG
                                                                                                             : ANSWER_FAILED;
    if (answer == ANSWER_FAILED)
        snprintf(why, why_size, "%s", sqlite3_errmsg(db));
    sqlite3_finalize(s);
    return answer;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

void json_text(FILE *out, const char *utf8)
{
    char piece[6 * 64];

    if (utf8 == NULL) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    for (size_t n = strlen(utf8); n > 0;) {
        size_t take = n < 64 ? n : 64;
        /* A character is not cut in two: its further bytes are 10xxxxxx. */
        while (take < n && take > 60 && ((unsigned char)utf8[take] & 0xc0) == 0x80)
            take--;
        fwrite(piece, 1, json_escape_ascii(slice_make(utf8, take), piece), out);
        utf8 += take;
        n -= take;
    }
    fputc('"', out);
}

void json_column(FILE *out, sqlite3_stmt *s, int column)
{
    switch (sqlite3_column_type(s, column)) {
    case SQLITE_NULL: fputs("null", out); break;
    case SQLITE_INTEGER: fprintf(out, "%" PRId64, (int64_t)sqlite3_column_int64(s, column)); break;
    default: json_text(out, (const char *)sqlite3_column_text(s, column)); break;
    }
}

void json_row(FILE *out, sqlite3_stmt *s)
{
    int n = sqlite3_column_count(s);

    fputc('{', out);
    for (int i = 0; i < n; i++) {
        fprintf(out, "%s\"%s\":", i > 0 ? "," : "", sqlite3_column_name(s, i));
        json_column(out, s, i);
    }
    fputc('}', out);
}
