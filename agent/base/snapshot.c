#include "base/snapshot.h"

#include <stddef.h>

void snapshot_init(struct snapshot *s, void (*free_fn)(struct snapshot *s))
{
    atomic_init(&s->refs, 1);
    s->free = free_fn;
}

void snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void snapshot_unref(struct snapshot *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        s->free(s);
}

void snapshot_cell_init(struct snapshot_cell *c)
{
    pthread_mutex_init(&c->lock, NULL);
    c->now = NULL;
    atomic_init(&c->version, 1); /* a fresh reader has 0 */
}

void snapshot_cell_clear(struct snapshot_cell *c)
{
    snapshot_unref(c->now);
    pthread_mutex_destroy(&c->lock);
}

void snapshot_publish(struct snapshot_cell *c, struct snapshot *fresh)
{
    pthread_mutex_lock(&c->lock);
    struct snapshot *old = c->now;
    c->now = fresh;
    atomic_fetch_add_explicit(&c->version, 1, memory_order_release);
    pthread_mutex_unlock(&c->lock);
    snapshot_unref(old);
}

const struct snapshot *snapshot_current(struct snapshot_reader *r)
{
    struct snapshot_cell *c = r->cell;

    if (c == NULL || atomic_load_explicit(&c->version, memory_order_acquire) == r->version)
        return r->held;
    struct snapshot *old = r->held;
    pthread_mutex_lock(&c->lock);
    r->held = c->now;
    r->version = atomic_load_explicit(&c->version, memory_order_relaxed);
    if (r->held != NULL)
        snapshot_ref(r->held);
    pthread_mutex_unlock(&c->lock);
    snapshot_unref(old);
    return r->held;
}

void snapshot_reader_clear(struct snapshot_reader *r)
{
    snapshot_unref(r->held);
    r->held = NULL;
    r->version = 0;
}
