/* Fiber: a function on a stack of its own, which may stop anywhere in it and be gone on with later, so that long work that is written
 * straight through can be done in slices. All on one thread: nothing runs beside anything else, and the same thread must resume it.
 *
 * Stacks are kept by a pool for the next fiber, have a guard page below them, stay out of core dumps and are wiped. A stack has 64 KiB (more
 * under a sanitizer): no recursion by what a peer sent. */
#ifndef TOLLGATE_BASE_FIBER_H
#define TOLLGATE_BASE_FIBER_H

#include <stdbool.h>

struct fiber;
struct fiber_pool;

/* NULL when memory is out. */
struct fiber_pool *fiber_pool_new(void) __attribute__((warn_unused_result));
/* Its fibers must be free. NULL is allowed. */
void fiber_pool_free(struct fiber_pool *pool);

/* `run` is started by the first fiber_resume. NULL when memory is out. */
struct fiber *fiber_new(struct fiber_pool *pool, void (*run)(struct fiber *self, void *arg), void *arg) __attribute__((warn_unused_result));
/* Runs it until it pauses (false) or has ended (true); then it may only be freed. */
bool fiber_resume(struct fiber *f);
/* Within `run` alone: back to who resumed it. */
void fiber_pause(struct fiber *self);
/* Also one that has not ended: what it was doing is left as it stands. NULL is allowed. */
void fiber_free(struct fiber *f);

#endif
