#include "manage/prompting.h"

#include "base/json_scan.h"
#include "base/log.h"
#include "base/log_text.h"
#include "base/redact.h"
#include "base/clock.h"
#include "config/config.h"
#include "decide/assess.h"
#include "guard/redact.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 64 * 1024, QUEUE_BYTES_MAX = 16 * 1024 * 1024, NAME_MAX_BYTES = 256, WORD_MAX = 256 };

struct part {
    enum ask_place place;
    uint32_t message; /* UINT32_MAX: none */
    uint32_t n;       /* bytes of its text */
};

/* A prompt on its way to the writer: the texts, decoded, stand behind the parts. */
struct entry {
    struct entry *next;
    int64_t at_us;
    char request_id[NAME_MAX_BYTES], team[NAME_MAX_BYTES], user[NAME_MAX_BYTES], alias[NAME_MAX_BYTES];
    bool cut;
    size_t parts, bytes; /* bytes: of the texts */
    struct part part[];
};

struct prompting {
    char *file;
    int64_t max_bytes, keep;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool started, stop;          /* under lock, as the rest */
    struct entry *first, **last;
    size_t queued;               /* bytes */
    uint64_t dropped;
    int fd;                      /* the writer's; -1: not open */
    int64_t size;
};

struct prompting *prompting_new(const struct config *c)
{
    struct prompting *p = calloc(1, sizeof *p);

    if (p == NULL || (p->file = strdup(c->prompts.file)) == NULL) {
        free(p);
        return NULL;
    }
    p->max_bytes = c->prompts.max_bytes;
    p->keep = c->prompts.keep;
    p->last = &p->first;
    p->fd = -1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    return p;
}

/* ---- taking ----------------------------------------------------------------------------------------------------------- */

static void name_copy(char to[NAME_MAX_BYTES], struct slice s)
{
    size_t n = s.n < NAME_MAX_BYTES - 1 ? s.n : NAME_MAX_BYTES - 1;

    if (n > 0)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

static bool kept(const struct ask_part *a)
{
    return (a->kind == PART_TEXT || a->kind == PART_JSON) && a->place != IN_TOOLS && a->place != IN_SCHEMA && a->raw.n > 0;
}

/* Half an address is not known as one: what is cut ends with a whole word. */
static size_t cut_at_word(const char *text, size_t n)
{
    size_t at = n;

    while (at > 0 && n - at < WORD_MAX && (unsigned char)text[at - 1] > ' ')
        at--;
    return at > 0 && (unsigned char)text[at - 1] <= ' ' ? at : n > WORD_MAX ? n - WORD_MAX : 0;
}

static struct entry *entry_new(const struct assessment *s, int64_t now_us)
{
    size_t parts = 0, bytes = 0;

    for (size_t i = 0; i < s->ask.part_count; i++)
        if (kept(ask_part_at(&s->ask, i))) {
            parts++;
            bytes += ask_part_at(&s->ask, i)->raw.n;
        }
    struct entry *e = calloc(1, sizeof *e + parts * sizeof *e->part + bytes);
    if (e == NULL)
        return NULL;
    e->at_us = now_us;
    name_copy(e->request_id, s->rq.id);
    name_copy(e->team, s->who.team);
    name_copy(e->user, s->who.user);
    name_copy(e->alias, s->alias->name);
    char *text = (char *)(e->part + parts);
    for (size_t i = 0; i < s->ask.part_count && !e->cut; i++) {
        const struct ask_part *a = ask_part_at(&s->ask, i);
        if (!kept(a))
            continue;
        size_t n = a->raw.n;
        if (a->kind == PART_TEXT && a->escaped)
            n = json_unescape(a->raw, text + e->bytes);
        else
            memcpy(text + e->bytes, a->raw.p, n);
        e->cut = e->bytes + n > TEXT_MAX;
        if (e->cut)
            n = cut_at_word(text + e->bytes, TEXT_MAX - e->bytes);
        e->part[e->parts++] = (struct part){ .place = a->place, .message = a->message, .n = (uint32_t)n };
        e->bytes += n;
    }
    if (e->parts < parts) /* the texts stand behind as many parts as there are */
        memmove(e->part + e->parts, text, e->bytes);
    struct entry *small = realloc(e, sizeof *e + e->parts * sizeof *e->part + e->bytes); /* a cut one was made for the whole */
    return small != NULL ? small : e;
}

static void *main_loop(void *arg);

void prompting_note(struct prompting *p, const struct assessment *s, int64_t now_us)
{
    struct entry *e = entry_new(s, now_us);
    size_t bytes = e != NULL ? sizeof *e + e->bytes : 0;

    pthread_mutex_lock(&p->lock);
    if (!p->started)
        p->started = pthread_create(&p->thread, NULL, main_loop, p) == 0;
    if (e == NULL || !p->started || p->queued + bytes > QUEUE_BYTES_MAX) {
        p->dropped++;
    } else {
        *p->last = e;
        p->last = &e->next;
        p->queued += bytes;
        e = NULL;
    }
    pthread_cond_signal(&p->more);
    pthread_mutex_unlock(&p->lock);
    free(e);
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static void put_part(FILE *out, const struct part *part, const char *text, char *room)
{
    static const char *const places[] = { "role", "name", "content", "tool_call", "tool_result", "tools", "schema", "system", "prompt", "prediction", "other" };
    size_t n = guard_redact(slice_make(text, part->n), room);

    fprintf(out, "{\"place\":\"%s\"", places[part->place]);
    if (part->message != UINT32_MAX)
        fprintf(out, ",\"message\":%" PRIu32, part->message);
    fputs(",\"text\":", out);
    log_text_json(out, slice_make(room, redact_text(room, n)));
    putc('}', out);
}

/* The line of an entry; the caller's to free. NULL: out of memory. */
static char *line_of(const struct entry *e, size_t *n)
{
    char *line = NULL, when[40], *room = malloc(GUARD_ROOM(e->bytes));
    FILE *out = open_memstream(&line, n);
    time_t second = (time_t)(e->at_us / 1000000);
    const char *text = (const char *)(e->part + e->parts);
    struct tm tm;

    if (out == NULL || room == NULL) {
        if (out != NULL)
            fclose(out);
        free(line);
        free(room);
        return NULL;
    }
    gmtime_r(&second, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(out, "{\"ts\":\"%s.%06dZ\"", when, (int)(e->at_us % 1000000));
    const struct {
        const char *name, *value;
    } names[] = { { "request_id", e->request_id }, { "team", e->team }, { "user", e->user }, { "alias", e->alias } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fprintf(out, ",\"%s\":", names[i].name);
        log_text_json(out, slice_cstr(names[i].value));
    }
    fprintf(out, ",\"cut\":%s,\"parts\":[", e->cut ? "true" : "false");
    for (size_t i = 0; i < e->parts; text += e->part[i++].n) {
        if (i > 0)
            putc(',', out);
        put_part(out, &e->part[i], text, room);
    }
    fputs("]}\n", out);
    free(room);
    if (fclose(out) == 0)
        return line;
    free(line);
    return NULL;
}

static bool file_open(struct prompting *p)
{
    struct stat st;

    if (p->fd >= 0)
        return true;
    p->fd = open(p->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (p->fd < 0)
        return false;
    if (fstat(p->fd, &st) == 0 && S_ISREG(st.st_mode) && fchmod(p->fd, 0600) == 0) {
        p->size = st.st_size;
        return true;
    }
    close(p->fd);
    p->fd = -1;
    return false;
}

/* FILE becomes FILE.1, that FILE.2, and so on; the last one goes. */
static void turn_over(struct prompting *p)
{
    char from[4200], to[4200];

    close(p->fd);
    p->fd = -1;
    for (int64_t i = p->keep; i > 0; i--) {
        snprintf(to, sizeof to, "%s.%" PRId64, p->file, i);
        snprintf(from, sizeof from, i > 1 ? "%s.%" PRId64 : "%s", p->file, i - 1);
        (void)rename(from, to); /* those that are not there yet */
    }
    if (p->keep == 0)
        (void)unlink(p->file);
}

static bool entry_write(struct prompting *p, const struct entry *e)
{
    static struct log_gate gate;
    size_t n = 0, done = 0;
    unsigned held;
    char *line = line_of(e, &n);

    if (line != NULL && file_open(p)) {
        while (done < n) {
            ssize_t k = write(p->fd, line + done, n - done);
            if (k < 0 && errno == EINTR)
                continue;
            if (k <= 0)
                break;
            done += (size_t)k;
        }
        p->size += (int64_t)done;
    }
    bool ok = line != NULL && n > 0 && done == n;
    if (!ok && log_gate_open(&gate, clock_mono_us() / 60, 1, &held)) /* once a minute */
        LOG(LOG_LEVEL_ERROR, "prompts_not_written", LOG_CSTR("file", p->file), LOG_CSTR("error", line == NULL ? "out of memory" : strerror(errno)));
    free(line);
    if (p->fd >= 0 && p->size >= p->max_bytes)
        turn_over(p);
    return ok;
}

static void *main_loop(void *arg)
{
    struct prompting *p = arg;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->first == NULL && p->dropped == 0 && !p->stop)
            pthread_cond_wait(&p->more, &p->lock);
        struct entry *list = p->first;
        uint64_t dropped = p->dropped;
        p->first = NULL;
        p->last = &p->first;
        p->queued = p->dropped = 0;
        if (list == NULL && dropped == 0)
            break;
        pthread_mutex_unlock(&p->lock);
        while (list != NULL) {
            struct entry *next = list->next;
            (void)entry_write(p, list);
            free(list);
            list = next;
        }
        if (dropped > 0)
            LOG(LOG_LEVEL_WARN, "prompts_not_logged", LOG_INT("count", dropped), LOG_CSTR("file", p->file));
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void prompting_free(struct prompting *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_signal(&p->more);
    pthread_mutex_unlock(&p->lock);
    if (p->started)
        pthread_join(p->thread, NULL);
    if (p->fd >= 0)
        close(p->fd);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    free(p->file);
    free(p);
}
