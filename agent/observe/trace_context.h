/* Trace context: which trace a request belongs to, and how that is told (W3C Trace Context, https://www.w3.org/TR/trace-context/).
 *
 * A request has one span; each try at a provider has a span below it, whose id is what the provider gets to see. All ids are drawn when
 * the request begins. Nothing here allocates or blocks. */
#ifndef TOLLGATE_OBSERVE_TRACE_CONTEXT_H
#define TOLLGATE_OBSERVE_TRACE_CONTEXT_H

#include "base/slice.h"

#include <stdint.h>

enum { TRACE_TRIES = 2, TRACE_SAMPLED = 1, TRACE_RANDOM = 2, TRACE_PARENT_BYTES = 55, TRACE_ID_BYTES = 32, TRACE_STATE_MAX = 512, TRACE_SAMPLE_ALL = 10000 };

struct trace_context {
    unsigned char trace_id[16];
    unsigned char parent_id[8];            /* the client's span; zeros: the trace begins here */
    unsigned char span_id[8];              /* the request's */
    unsigned char try_id[TRACE_TRIES][8];  /* of the tries at providers */
    unsigned char flags;                   /* TRACE_SAMPLED, TRACE_RANDOM */
    bool parent;                           /* parent_id is the client's */
};

/* A request as tracing sees it. The slices live as long as what they were taken from; all but `context` are empty or false when
 * nothing is to be exported. */
struct trace_request {
    struct trace_context context;
    bool on;                               /* traces are configured: providers are told of the context */
    bool tls;
    struct slice state, method, path, host; /* tracestate as it came; the host as the client named it, perhaps with a port */
};

/* The value of a traceparent header of version 00: 55 bytes, lower-case hexadecimal, neither id all zeros. Fills trace_id, parent_id,
 * flags and parent; false, and nothing changed, when it is anything else. */
bool trace_parent_parse(struct slice value, struct trace_context *t) __attribute__((warn_unused_result));
/* Continues the client's trace, or begins one when there is no header, several, or one that is wrong. Who began a trace decides whether it
 * is sampled; of ours, `sample` in TRACE_SAMPLE_ALL are, by the trace id, so that all gateways choose alike. False: no random bytes. */
bool trace_begin(struct trace_context *t, struct slice parent, unsigned parents, uint32_t sample) __attribute__((warn_unused_result));
/* What the provider of a try (0, 1) is told. */
void trace_parent_write(const struct trace_context *t, unsigned number, char out[static TRACE_PARENT_BYTES + 1]);
/* The trace id in hexadecimal. */
void trace_id_write(const struct trace_context *t, char out[static TRACE_ID_BYTES + 1]);
/* A tracestate that may be passed on in a span: printable, not too long. */
bool trace_state_ok(struct slice value);

#endif
