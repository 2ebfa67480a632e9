/* Label values that come from outside: the first `max` different ones keep their name, all others are counted together as "_other".
 *
 * Keeps a metric's other labels meaningful when one of them has too many values. Finding is without a lock; a value met for the first
 * time takes a mutex. Nothing fails: without memory a value is "_other". */
#ifndef TOLLGATE_OBSERVE_LABEL_VALUES_H
#define TOLLGATE_OBSERVE_LABEL_VALUES_H

#include "base/slice.h"

struct label_values;

/* NULL: out of memory. */
struct label_values *label_values_new(unsigned max) __attribute__((warn_unused_result));
void label_values_free(struct label_values *v);
/* Any thread. Lives as long as `v`. Values longer than 128 bytes, or not UTF-8, are "_other". */
struct slice label_value(struct label_values *v, struct slice value);

#endif
