#include "observe/request_log.h"

#include "observe/event_fields.h"
#include "observe/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { AT_ONCE = 64, WAIT_MS = 1000 };

struct request_log {
    struct recent *recent;
    pthread_t thread;
    atomic_bool on, stop;
    uint64_t cursor;
    struct event events[AT_ONCE];
};

static void write_events(struct request_log *l)
{
    struct log_field fields[EVENT_FIELDS_MAX];
    uint64_t lost;
    size_t n;

    while ((n = recent_read(l->recent, &l->cursor, l->events, AT_ONCE, &lost)) > 0) {
        if (!atomic_load(&l->on))
            continue;
        if (lost > 0)
            LOG(LOG_LEVEL_WARN, "events_not_logged", LOG_INT("count", lost), LOG_CSTR("fix", "the log is read too slowly: log faster, or set log.decisions: false"));
        for (size_t i = 0; i < n; i++)
            log_emit(LOG_LEVEL_INFO, event_kind_name(l->events[i].kind), fields, event_fields(&l->events[i], fields));
    }
}

static void *main_loop(void *arg)
{
    struct request_log *l = arg;

    while (!atomic_load(&l->stop)) {
        recent_wait(l->recent, l->cursor, WAIT_MS);
        write_events(l);
    }
    write_events(l);
    return NULL;
}

struct request_log *request_log_start(struct recent *recent, bool on)
{
    struct request_log *l = calloc(1, sizeof *l);

    if (l == NULL)
        return NULL;
    l->recent = recent;
    l->cursor = recent_end(recent);
    atomic_init(&l->on, on);
    atomic_init(&l->stop, false);
    if (pthread_create(&l->thread, NULL, main_loop, l) == 0)
        return l;
    free(l);
    return NULL;
}

void request_log_switch(struct request_log *l, bool on)
{
    atomic_store(&l->on, on);
}

bool request_log_on(const struct request_log *l)
{
    return atomic_load_explicit(&l->on, memory_order_relaxed);
}

void request_log_stop(struct request_log *l)
{
    if (l == NULL)
        return;
    atomic_store(&l->stop, true);
    recent_wake(l->recent);
    pthread_join(l->thread, NULL);
    free(l);
}
