/* How long the exporter of spans is patient with a collector: the same batch goes out again after growing pauses, or those the collector asks
 * for (Retry-After, opentelemetry-proto docs/specification.md, "OTLP/HTTP Throttling"), as long as that is within two minutes of its first
 * try. Reads no clock: `now_us` is monotonic time. */
#ifndef TOLLGATE_OBSERVE_OTLP_RETRY_H
#define TOLLGATE_OBSERVE_OTLP_RETRY_H

#include <stdint.h>

#define OTLP_RETRY_US INT64_C(120000000)

struct otlp_retry {
    int64_t first_us; /* the batch's first try */
    unsigned tries;   /* that failed and were followed by a pause */
};

void otlp_retry_begin(struct otlp_retry *r, int64_t now_us);
/* A try has failed: the pause before the next, or -1 when there is none. `told_s`: seconds the collector asked for; 0: none. `spread`, 0 to
 * 999, makes it up to a quarter longer, so that many agents do not come back at once. */
int64_t otlp_retry_pause_us(struct otlp_retry *r, int64_t now_us, int64_t told_s, unsigned spread);

#endif
