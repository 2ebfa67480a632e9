/* Span: one request, or one try at a provider, as OpenTelemetry has it.
 *
 * A plain value that owns its texts, so it can be handed from thread to thread. No prompt, answer, token or key is in it, and no user. */
#ifndef TOLLGATE_OBSERVE_TRACE_SPAN_H
#define TOLLGATE_OBSERVE_TRACE_SPAN_H

#include "observe/event.h"
#include "observe/trace_context.h"

enum span_kind { SPAN_REQUEST, SPAN_TRY };

struct span_request {
    struct event event;       /* DENIED, ANSWERED or SETTLED */
    char method[16], path[128], host[128];
    bool tls;
};

struct span_try {
    int number;               /* from 1 */
    enum endpoint endpoint;
    char request_id[64], group[48], provider[48], model[64], address[128];
    int port;                 /* 0: not known */
    int status;               /* 0: no response */
    const char *outcome;      /* static */
    int64_t first_byte_us;    /* -1: not known */
};

struct trace_span {
    enum span_kind kind;
    struct trace_context context;
    int64_t started_us, ended_us; /* wall clock */
    char state[TRACE_STATE_MAX + 1];
    union {
        struct span_request request;
        struct span_try attempt;
    };
};

#endif
