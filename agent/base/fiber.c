#include "base/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define FIBER_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define FIBER_TSAN 1
#endif

#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

enum {
#if defined(FIBER_ASAN) || defined(FIBER_TSAN)
    STACK_BYTES = 512 * 1024,
#else
    STACK_BYTES = 64 * 1024,
#endif
    SPARE_MOST = 8
};

struct fiber {
    struct fiber *next;          /* while it is spare */
    struct fiber_pool *pool;
    char *stack;                 /* behind its guard page */
    ucontext_t inside, outside;
    void (*run)(struct fiber *self, void *arg);
    void *arg;
    bool ended;
#ifdef FIBER_ASAN
    void *fake_inside, *fake_outside;
    const void *outer_stack;
    size_t outer_bytes;
#endif
#ifdef FIBER_TSAN
    void *tsan_inside, *tsan_outside;
#endif
};

struct fiber_pool {
    struct fiber *spare;
    unsigned spare_count;
    size_t page;
};

struct fiber_pool *fiber_pool_new(void)
{
    struct fiber_pool *pool = calloc(1, sizeof *pool);
    if (pool != NULL)
        pool->page = (size_t)sysconf(_SC_PAGESIZE);
    return pool;
}

static void unmap(struct fiber *f)
{
    munmap(f->stack - f->pool->page, f->pool->page + STACK_BYTES);
    free(f);
}

void fiber_pool_free(struct fiber_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->spare != NULL) {
        struct fiber *f = pool->spare;
        pool->spare = f->next;
        unmap(f);
    }
    free(pool);
}

static struct fiber *map(struct fiber_pool *pool)
{
    size_t n = pool->page + STACK_BYTES;
    struct fiber *f = calloc(1, sizeof *f);
    char *p = f == NULL ? MAP_FAILED : mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (p == MAP_FAILED || mprotect(p, pool->page, PROT_NONE) != 0) {
        if (p != MAP_FAILED)
            munmap(p, n);
        free(f);
        return NULL;
    }
    (void)madvise(p, n, MADV_DONTDUMP);
    f->pool = pool;
    f->stack = p + pool->page;
    return f;
}

/* ---- from one stack to the other ------------------------------------------------------------------------------------ */

static void entered(struct fiber *f)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(f->fake_inside, &f->outer_stack, &f->outer_bytes);
#endif
    (void)f;
}

static void leave(struct fiber *f)
{
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(f->ended ? NULL : &f->fake_inside, f->outer_stack, f->outer_bytes);
#endif
#ifdef FIBER_TSAN
    __tsan_switch_to_fiber(f->tsan_outside, 0);
#endif
    swapcontext(&f->inside, &f->outside);
    entered(f);
}

/* makecontext hands on int alone. */
static void start(unsigned high, unsigned low)
{
    struct fiber *f = (struct fiber *)(uintptr_t)((uint64_t)high << 32 | low);

    entered(f);
    f->run(f, f->arg);
    f->ended = true;
    leave(f);
}

static void prepare(struct fiber *f)
{
    uint64_t self = (uint64_t)(uintptr_t)f;

    getcontext(&f->inside);
    f->inside.uc_stack.ss_sp = f->stack;
    f->inside.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->inside, (void (*)(void))start, 2, (unsigned)(self >> 32), (unsigned)self);
}

struct fiber *fiber_new(struct fiber_pool *pool, void (*run)(struct fiber *self, void *arg), void *arg)
{
    struct fiber *f = pool->spare;

    if (f != NULL) {
        pool->spare = f->next;
        pool->spare_count--;
    } else if ((f = map(pool)) == NULL) {
        return NULL;
    }
    *f = (struct fiber){ .pool = pool, .stack = f->stack, .run = run, .arg = arg };
    prepare(f);
#ifdef FIBER_TSAN
    f->tsan_inside = __tsan_create_fiber(0);
#endif
    return f;
}

bool fiber_resume(struct fiber *f)
{
    if (f->ended)
        return true;
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(&f->fake_outside, f->stack, STACK_BYTES);
#endif
#ifdef FIBER_TSAN
    f->tsan_outside = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan_inside, 0);
#endif
    swapcontext(&f->outside, &f->inside);
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(f->fake_outside, NULL, NULL);
#endif
    return f->ended;
}

void fiber_pause(struct fiber *self)
{
    leave(self);
}

void fiber_free(struct fiber *f)
{
    if (f == NULL)
        return;
#ifdef FIBER_TSAN
    __tsan_destroy_fiber(f->tsan_inside);
#endif
#ifdef FIBER_ASAN
    __asan_unpoison_memory_region(f->stack, STACK_BYTES);
#endif
    explicit_bzero(f->stack, STACK_BYTES);
    explicit_bzero(&f->inside, sizeof f->inside); /* registers of where it stopped */
    if (f->pool->spare_count < SPARE_MOST) {
        f->next = f->pool->spare;
        f->pool->spare = f;
        f->pool->spare_count++;
    } else {
        unmap(f);
    }
}
