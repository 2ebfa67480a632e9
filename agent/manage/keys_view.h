/* Keys as operators see them: in metrics and in `tollgatectl status`. Never a value, nor its length. Control thread. */
#ifndef TOLLGATE_KEYS_VIEW_H
#define TOLLGATE_KEYS_VIEW_H

#include <msgpack.h>
#include <stdbool.h>

struct agent;
struct metric;
struct metrics;
struct runtime;

enum { KEYS_METRICS = 6 };

/* False: out of memory. */
bool keys_metrics_add(struct metrics *m, struct metric *metric[KEYS_METRICS]) __attribute__((warn_unused_result));
void keys_metrics_take(struct agent *a, struct metric *const metric[KEYS_METRICS]);
/* An array with a map for each key. */
void keys_pack(const struct runtime *r, msgpack_packer *p);

#endif
