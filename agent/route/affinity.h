/* Affinity: which target a conversation was sent to last, so that its next turn finds the provider's prompt cache warm.
 *
 * A fixed table without locks, written and read by any thread. An entry lives AFFINITY_US after its last use; a collision or a race
 * forgets one, which costs a cache miss at the provider and nothing else. Not kept over a restart. */
#ifndef TOLLGATE_ROUTE_AFFINITY_H
#define TOLLGATE_ROUTE_AFFINITY_H

#include <stdint.h>

#define AFFINITY_US (INT64_C(300) * 1000000) /* providers keep prompts for 5 minutes and more */

struct affinity;

/* NULL when memory is out. */
struct affinity *affinity_new(void) __attribute__((warn_unused_result));
/* NULL is allowed. */
void affinity_free(struct affinity *a);
/* The mark put for this key, or -1. `now_us` monotonic. */
int affinity_get(const struct affinity *a, uint64_t key, int64_t now_us);
void affinity_put(struct affinity *a, uint64_t key, uint16_t mark, int64_t now_us);

#endif
