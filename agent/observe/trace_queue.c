#include "observe/trace_queue.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Each place has a turn: `position` when it may be filled, position + 1 when it is full, position + places when it was emptied. */
struct place {
    atomic_size_t turn;
    struct trace_span span;
};

struct trace_queue {
    size_t mask;
    alignas(64) atomic_size_t in;
    alignas(64) atomic_size_t out;
    struct place places[];
};

struct trace_queue *trace_queue_new(unsigned places)
{
    size_t n = 2;

    while (n < places)
        n *= 2;
    size_t size = sizeof(struct trace_queue) + n * sizeof(struct place);
    struct trace_queue *q = aligned_alloc(64, (size + 63) / 64 * 64);
    if (q == NULL)
        return NULL;
    q->mask = n - 1;
    atomic_init(&q->in, 0);
    atomic_init(&q->out, 0);
    for (size_t i = 0; i < n; i++)
        atomic_init(&q->places[i].turn, i);
    return q;
}

void trace_queue_free(struct trace_queue *q)
{
    free(q);
}

bool trace_queue_put(struct trace_queue *q, const struct trace_span *s)
{
    size_t at = atomic_load_explicit(&q->in, memory_order_relaxed);

    for (;;) {
        struct place *p = &q->places[at & q->mask];
        size_t turn = atomic_load_explicit(&p->turn, memory_order_acquire);
        if (turn == at) {
            if (atomic_compare_exchange_weak_explicit(&q->in, &at, at + 1, memory_order_relaxed, memory_order_relaxed)) {
                p->span = *s;
                atomic_store_explicit(&p->turn, at + 1, memory_order_release);
                return true;
            }
        } else if ((ptrdiff_t)(turn - at) < 0) {
            return false;
        } else {
            at = atomic_load_explicit(&q->in, memory_order_relaxed);
        }
    }
}

bool trace_queue_take(struct trace_queue *q, struct trace_span *s)
{
    size_t at = atomic_load_explicit(&q->out, memory_order_relaxed);
    struct place *p = &q->places[at & q->mask];

    if (atomic_load_explicit(&p->turn, memory_order_acquire) != at + 1)
        return false;
    *s = p->span;
    atomic_store_explicit(&p->turn, at + q->mask + 1, memory_order_release);
    atomic_store_explicit(&q->out, at + 1, memory_order_relaxed);
    return true;
}

unsigned trace_queue_count(const struct trace_queue *q)
{
    size_t out = atomic_load_explicit(&q->out, memory_order_relaxed), in = atomic_load_explicit(&q->in, memory_order_relaxed);
    return (ptrdiff_t)(in - out) > 0 ? (unsigned)(in - out) : 0;
}
