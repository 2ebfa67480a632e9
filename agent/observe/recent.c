#include "observe/recent.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct recent {
    pthread_mutex_t lock;
    pthread_cond_t more;
    unsigned waiting;
    uint64_t woken; /* calls of recent_wake */
    uint64_t end;   /* events ever put; event n is in slot n % RECENT_EVENTS */
    struct event events[RECENT_EVENTS];
};

struct recent *recent_new(void)
{
    struct recent *r = calloc(1, sizeof *r); /* pages are only taken as they are used */
    pthread_condattr_t attr;

    if (r == NULL)
        return NULL;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->more, &attr);
    pthread_condattr_destroy(&attr);
    return r;
}

void recent_free(struct recent *r)
{
    if (r == NULL)
        return;
    pthread_cond_destroy(&r->more);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void recent_put(struct recent *r, const struct event *e)
{
    pthread_mutex_lock(&r->lock);
    r->events[r->end++ % RECENT_EVENTS] = *e;
    bool wake = r->waiting > 0;
    pthread_mutex_unlock(&r->lock);
    if (wake)
        pthread_cond_broadcast(&r->more);
}

uint64_t recent_end(struct recent *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t end = r->end;
    pthread_mutex_unlock(&r->lock);
    return end;
}

static uint64_t oldest(const struct recent *r)
{
    return r->end > RECENT_EVENTS ? r->end - RECENT_EVENTS : 0;
}

uint64_t recent_since(struct recent *r, int64_t at_us, bool *overwritten, int64_t *oldest_us)
{
    pthread_mutex_lock(&r->lock);
    uint64_t first = oldest(r), at = first;
    while (at < r->end && r->events[at % RECENT_EVENTS].at_us < at_us)
        at++;
    *overwritten = first > 0;
    *oldest_us = first < r->end ? r->events[first % RECENT_EVENTS].at_us : 0;
    pthread_mutex_unlock(&r->lock);
    return at;
}

size_t recent_read(struct recent *r, uint64_t *cursor, struct event *out, size_t max, uint64_t *lost)
{
    size_t n = 0;

    pthread_mutex_lock(&r->lock);
    uint64_t first = oldest(r);
    if (*cursor > r->end)
        *cursor = 0;
    *lost = *cursor < first ? first - *cursor : 0;
    if (*cursor < first)
        *cursor = first;
    for (; n < max && *cursor < r->end; n++)
        out[n] = r->events[(*cursor)++ % RECENT_EVENTS];
    pthread_mutex_unlock(&r->lock);
    return n;
}

void recent_wait(struct recent *r, uint64_t cursor, int timeout_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&r->lock);
    uint64_t woken = r->woken;
    r->waiting++;
    while (cursor >= r->end && woken == r->woken && pthread_cond_timedwait(&r->more, &r->lock, &until) == 0)
        ;
    r->waiting--;
    pthread_mutex_unlock(&r->lock);
}

void recent_wake(struct recent *r)
{
    pthread_mutex_lock(&r->lock);
    r->woken++;
    pthread_mutex_unlock(&r->lock);
    pthread_cond_broadcast(&r->more);
}
