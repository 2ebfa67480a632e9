#include "observe/audit_private.h"

#include "base/clock.h"
#include "base/json_scan.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every byte of a text can become \u00XX. */
enum { LINE_MAX_BYTES = 4 * 6 * AUDIT_TEXT_MAX + 512 };

struct audit {
    int fd;
    char *file;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;      /* guards the rest */
    pthread_cond_t wake;
    bool dirty, stop, torn; /* torn: half a line stands at the end and could not be cut off */
    int64_t seq;
    off_t size;
    char head[AUDIT_HASH_BYTES];
    char line[LINE_MAX_BYTES];
};

static void *sync_main(void *user)
{
    struct audit *a = user;

    pthread_mutex_lock(&a->lock);
    while (!a->stop || a->dirty) {
        if (!a->dirty) {
            pthread_cond_wait(&a->wake, &a->lock);
            continue;
        }
        a->dirty = false;
        pthread_mutex_unlock(&a->lock);
        if (fdatasync(a->fd) != 0)
            LOG(LOG_LEVEL_ERROR, "audit_not_synced", LOG_CSTR("file", a->file), LOG_CSTR("error", strerror(errno)));
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* Where the last line begins and ends (after its newline); both 0 in a file without a whole line. */
static bool last_line(struct audit *a, off_t *begin, off_t *end)
{
    char block[4096];
    int found = 0;

    *begin = *end = 0;
    for (off_t at = a->size; at > 0;) {
        size_t want = at < (off_t)sizeof block ? (size_t)at : sizeof block;
        at -= (off_t)want;
        if (pread(a->fd, block, want, at) != (ssize_t)want)
            return false;
        for (size_t i = want; i > 0; i--) {
            if (block[i - 1] != '\n')
                continue;
            if (found++ == 0) {
                *end = at + (off_t)i;
            } else {
                *begin = at + (off_t)i;
                return true;
            }
        }
    }
    return true;
}

/* Goes on where the file ends. What stands behind the last newline was never acknowledged. */
static bool tail_take(struct audit *a, char *why, size_t why_size)
{
    off_t begin, end;
    const char *reason = "it cannot be read";

    if (!last_line(a, &begin, &end) || end - begin > LINE_MAX_BYTES)
        goto damaged;
    if (end < a->size) {
        LOG(LOG_LEVEL_WARN, "audit_repaired", LOG_CSTR("file", a->file), LOG_INT("bytes_cut_off", a->size - end));
        if (ftruncate(a->fd, end) != 0) {
            reason = "an unfinished line cannot be cut off (is the file append-only?)";
            goto damaged;
        }
        a->size = end;
    }
    if (end == 0)
        return true;
    size_t n = (size_t)(end - begin) - 1;
    if (pread(a->fd, a->line, n, begin) != (ssize_t)n)
        goto damaged;
    cJSON *o = audit_line_parse(a->line, n, &reason);
    if (o == NULL)
        goto damaged;
    a->seq = (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(o, "seq"));
    snprintf(a->head, sizeof a->head, "%s", audit_member(o, "hash"));
    cJSON_Delete(o);
    return true;
damaged:
    snprintf(why, why_size, "audit log %s: its last line is damaged (%s); look at it with `tollgatectl audit verify`, keep it, and move it away",
             a->file, reason);
    return false;
}

struct audit *audit_open(const char *file, char *why, size_t why_size)
{
    struct audit *a = calloc(1, sizeof *a);
    struct stat st;

    snprintf(why, why_size, "out of memory");
    if (a == NULL)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->wake, NULL);
    snprintf(a->head, sizeof a->head, AUDIT_GENESIS);
    a->file = strdup(file);
    a->fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->fd < 0 || a->file == NULL || fstat(a->fd, &st) != 0) {
        snprintf(why, why_size, "cannot open the audit log %s: %s", file, strerror(errno));
        goto fail;
    }
    a->size = st.st_size;
    if (flock(a->fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(why, why_size, "audit log %s is kept by another process; each agent needs its own (audit.file)", file);
        goto fail;
    }
    if (!tail_take(a, why, why_size))
        goto fail;
    a->started = pthread_create(&a->thread, NULL, sync_main, a) == 0;
    if (a->started)
        return a;
    snprintf(why, why_size, "cannot start the audit log's thread");
fail:
    audit_close(a);
    return NULL;
}

void audit_close(struct audit *a)
{
    if (a == NULL)
        return;
    if (a->started) {
        pthread_mutex_lock(&a->lock);
        a->stop = true;
        pthread_cond_signal(&a->wake);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    if (a->fd >= 0)
        close(a->fd);
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a->file);
    free(a);
}

static size_t put_text(char *to, const char *key, struct slice s)
{
    size_t n = (size_t)sprintf(to, ",\"%s\":\"", key);

    n += json_escape_ascii(slice_make(s.p, s.n < AUDIT_TEXT_MAX ? s.n : AUDIT_TEXT_MAX), to + n);
    to[n++] = '"';
    return n;
}

static size_t line_make(struct audit *a, const struct audit_entry *e, char hash[AUDIT_HASH_BYTES])
{
    int64_t now = clock_wall_us();
    time_t s = (time_t)(now / 1000000);
    struct tm tm;
    char at[64], *p = a->line;

    gmtime_r(&s, &tm);
    size_t k = strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(at + k, sizeof at - k, ".%06" PRId64 "Z", now % 1000000);
    size_t n = (size_t)sprintf(p, "{\"seq\":%" PRId64 ",\"at\":\"%s\"", a->seq + 1, at);
    n += put_text(p + n, "actor", e->actor);
    n += put_text(p + n, "action", e->action);
    n += put_text(p + n, "object", e->object);
    n += put_text(p + n, "detail", e->detail);
    n += (size_t)sprintf(p + n, ",\"prev\":\"%s\"", a->head);
    audit_hash(p, n, hash);
    return n + (size_t)sprintf(p + n, ",\"hash\":\"%s\"}\n", hash);
}

bool audit_append(struct audit *a, const struct audit_entry *e)
{
    char hash[AUDIT_HASH_BYTES];

    pthread_mutex_lock(&a->lock);
    size_t n = line_make(a, e, hash);
    ssize_t done = a->torn ? -1 : write(a->fd, a->line, n);
    bool ok = done == (ssize_t)n;
    int error = a->torn ? EIO : done < 0 ? errno : ENOSPC;
    int64_t seq = a->seq + 1;
    if (ok) {
        a->seq = seq;
        a->size += done;
        memcpy(a->head, hash, sizeof hash);
        a->dirty = true;
        pthread_cond_signal(&a->wake);
    } else if (done > 0 && ftruncate(a->fd, a->size) != 0) {
        a->torn = true; /* the next start tries again */
        error = EIO;
    }
    pthread_mutex_unlock(&a->lock);
    if (ok)
        LOG(LOG_LEVEL_INFO, "audit", LOG_INT("seq", seq), LOG_STR("actor", e->actor), LOG_STR("action", e->action),
            LOG_STR("object", e->object), LOG_CSTR("hash", hash));
    else
        LOG(LOG_LEVEL_ERROR, "audit_not_written", LOG_CSTR("file", a->file), LOG_CSTR("error", strerror(error)),
            LOG_STR("actor", e->actor), LOG_STR("action", e->action), LOG_STR("object", e->object));
    return ok;
}
