#include "base/private.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define PRIVATE_IS_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define PRIVATE_IS_MALLOC 1
#endif
#endif
#ifndef PRIVATE_IS_MALLOC
#define PRIVATE_IS_MALLOC 0
#endif

enum {
    FIRST_SHIFT = 5,              /* 32 bytes */
    CLASSES = 16,                 /* up to 1 MiB; what is larger has a mapping of its own, kept for the next one that fits */
    LARGE = CLASSES,
    SLAB_BYTES = 2 << 20,
    KEPT_BYTES = 128 * 1024,      /* by a thread, of one class */
    KEPT_MOST = 64, KEPT_LEAST = 2,
    HANDED = 16,                  /* between a thread and all, at once */
    RETURNED_SHIFT = 16,          /* blocks from 64 KiB on give their pages back */
    RESIDENT_MOST = 64,           /* but for so many of a class */
    LARGE_ROUND = 64 * 1024,
    LARGE_KEPT_BYTES = 32 << 20   /* of free large blocks, for all threads together */
};

struct block {
    alignas(max_align_t) struct block *next; /* while it is free */
    uint32_t class;
    size_t n; /* asked for; of a large one the mapping's size stands in `mapped` */
    size_t mapped;
    alignas(max_align_t) char data[];
};

struct list {
    struct block *first;
    unsigned count;
};

static struct {
    pthread_mutex_t lock;
    struct list free[CLASSES];
    char *slab;
    size_t left;
    struct block *large; /* free ones, the last one freed first */
    size_t large_bytes;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

static atomic_size_t mapped;

static _Thread_local struct list mine[CLASSES];
static _Thread_local bool registered;
static pthread_key_t leaving;
static pthread_once_t leaving_once = PTHREAD_ONCE_INIT;

static size_t class_bytes(unsigned class)
{
    return (size_t)1 << (FIRST_SHIFT + class);
}

static unsigned class_of(size_t n)
{
    unsigned c = 0;
    while (c < CLASSES && class_bytes(c) < n)
        c++;
    return c;
}

static unsigned kept_most(unsigned class)
{
    size_t n = KEPT_BYTES >> (FIRST_SHIFT + class);
    return n > KEPT_MOST ? KEPT_MOST : n < KEPT_LEAST ? KEPT_LEAST : (unsigned)n;
}

static void push(struct list *l, struct block *b)
{
    b->next = l->first;
    l->first = b;
    l->count++;
}

static struct block *pop(struct list *l)
{
    struct block *b = l->first;
    if (b != NULL) {
        l->first = b->next;
        l->count--;
    }
    return b;
}

static void *map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    atomic_fetch_add_explicit(&mapped, n, memory_order_relaxed);
    (void)madvise(p, n, MADV_DONTDUMP); /* a kernel without it writes no core either: RLIMIT_CORE is 0 */
    return p;
}

/* ---- between a thread and all ------------------------------------------------------------------------------------------- */

/* Under the lock. */
static struct block *carve(unsigned class)
{
    size_t n = sizeof(struct block) + class_bytes(class);

    if (all.left < n) { /* what is left of the old one is lost: less than one block of this class */
        char *slab = map(SLAB_BYTES);
        if (slab == NULL)
            return NULL;
        all.slab = slab;
        all.left = SLAB_BYTES;
    }
    struct block *b = (struct block *)(void *)all.slab;
    all.slab += n;
    all.left -= n;
    b->class = class;
    return b;
}

static struct block *fetch(unsigned class)
{
    unsigned more = kept_most(class) / 2 < HANDED ? kept_most(class) / 2 : HANDED;

    pthread_mutex_lock(&all.lock);
    struct block *b = pop(&all.free[class]), *extra;
    if (b == NULL)
        b = carve(class);
    while (b != NULL && more-- > 1 && (extra = pop(&all.free[class])) != NULL)
        push(&mine[class], extra);
    pthread_mutex_unlock(&all.lock);
    return b;
}

/* A wiped block's pages are given back: they read as zero when they are touched again. */
static void pages_return(struct block *b)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)b->data, to = from + class_bytes(b->class);

    from = (from + page - 1) / page * page;
    to = to / page * page;
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

static void hand_back(unsigned class, unsigned keep)
{
    struct block *b;

    pthread_mutex_lock(&all.lock);
    while (mine[class].count > keep && (b = pop(&mine[class])) != NULL) {
        if (FIRST_SHIFT + class >= RETURNED_SHIFT && all.free[class].count >= RESIDENT_MOST)
            pages_return(b);
        push(&all.free[class], b);
    }
    pthread_mutex_unlock(&all.lock);
}

static void on_leaving(void *unused)
{
    (void)unused;
    for (unsigned class = 0; class < CLASSES; class++)
        hand_back(class, 0);
    registered = false; /* destructors that run later may free more: it is registered anew */
}

static void leaving_set_up(void)
{
    if (pthread_key_create(&leaving, on_leaving) != 0)
        abort();
}

static void thread_register(void)
{
    pthread_once(&leaving_once, leaving_set_up);
    registered = pthread_setspecific(leaving, &registered) == 0;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------------- */

static struct block *block_of(void *p)
{
    return (struct block *)(void *)((char *)p - offsetof(struct block, data));
}

/* One that has room for `need` bytes, and not more than twice that. NULL: there is none. */
static struct block *large_kept(size_t need)
{
    struct block **at, *b;

    pthread_mutex_lock(&all.lock);
    for (at = &all.large; (b = *at) != NULL; at = &b->next)
        if (b->mapped >= need && b->mapped / 2 <= need) {
            *at = b->next;
            all.large_bytes -= b->mapped;
            break;
        }
    pthread_mutex_unlock(&all.lock);
    return b;
}

static void *large_alloc(size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    size_t need = (sizeof(struct block) + n + LARGE_ROUND - 1) / LARGE_ROUND * LARGE_ROUND;
    struct block *b = large_kept(need);
    if (b == NULL) {
        b = map(need);
        if (b == NULL)
            return NULL;
        b->class = LARGE;
        b->mapped = need;
    }
    b->n = n;
    return b->data;
}

static void large_free(struct block *b, size_t used)
{
    bool keep;

    if (b->mapped <= LARGE_KEPT_BYTES / 4)
        explicit_bzero(b->data, used);
    pthread_mutex_lock(&all.lock);
    keep = b->mapped <= LARGE_KEPT_BYTES / 4 && all.large_bytes + b->mapped <= LARGE_KEPT_BYTES;
    if (keep) {
        b->next = all.large;
        all.large = b;
        all.large_bytes += b->mapped;
    }
    pthread_mutex_unlock(&all.lock);
    if (!keep)
        munmap(b, b->mapped); /* what the system gets back it wipes before anybody sees it */
}

void *private_alloc(size_t n)
{
    if (PRIVATE_IS_MALLOC)
        return malloc(n ? n : 1);
    unsigned class = class_of(n);
    if (class == LARGE)
        return large_alloc(n);
    struct block *b = pop(&mine[class]);
    if (b == NULL && (b = fetch(class)) == NULL)
        return NULL;
    b->n = n;
    return b->data;
}

void private_free_used(void *p, size_t used)
{
    if (p == NULL)
        return;
    if (PRIVATE_IS_MALLOC) {
        free(p);
        return;
    }
    struct block *b = block_of(p);
    if (used > b->n)
        used = b->n;
    if (b->class == LARGE) {
        large_free(b, used);
        return;
    }
    explicit_bzero(b->data, used);
    if (!registered)
        thread_register();
    push(&mine[b->class], b);
    if (mine[b->class].count > kept_most(b->class))
        hand_back(b->class, kept_most(b->class) / 2);
}

size_t private_mapped(void)
{
    return atomic_load_explicit(&mapped, memory_order_relaxed);
}

void private_free(void *p)
{
    private_free_used(p, SIZE_MAX);
}

void *private_calloc(size_t count, size_t size)
{
    size_t n;

    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    if (PRIVATE_IS_MALLOC)
        return calloc(1, n ? n : 1);
    return private_alloc(n); /* what is free is zero */
}

void *private_realloc(void *p, size_t n)
{
    if (PRIVATE_IS_MALLOC)
        return realloc(p, n ? n : 1);
    if (p == NULL)
        return private_alloc(n);
    struct block *b = block_of(p);
    if (b->class != LARGE && n <= class_bytes(b->class)) {
        if (n < b->n)
            explicit_bzero(b->data + n, b->n - n);
        b->n = n;
        return p;
    }
    void *q = private_alloc(n);
    if (q == NULL)
        return NULL;
    memcpy(q, p, b->n < n ? b->n : n);
    private_free(p);
    return q;
}

char *private_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = private_alloc(n);
    if (p != NULL)
        memcpy(p, s, n);
    return p;
}
