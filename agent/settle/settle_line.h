/* One line of HAProxy's log ring: JSON, {"t":1,...} for each request, {"t":2,...} for each attempt at a provider.
 *
 * The second channel of settlement: it also covers what the tap never sees (refusals, aborts before a response). Times are HAProxy's, in
 * milliseconds, -1 when the phase was not reached. HAProxy prints "-" or nothing for what it does not have: read as absent. Numbers may
 * come as numbers or as strings of digits. */
#ifndef TOLLGATE_SETTLE_SETTLE_LINE_H
#define TOLLGATE_SETTLE_SETTLE_LINE_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

#define SETTLE_LINE_ABSENT INT64_MIN

struct settle_line {
    int tier;               /* "t": 1 the request, 2 an attempt */
    struct slice id;        /* "id": unique-id, never empty */
    struct slice group;     /* "grp" */
    struct slice state;     /* "tsc": termination state, e.g. "--", "CD", "SD" */
    struct slice server;    /* "srv" */
    struct slice retry_after; /* "ra": the provider's Retry-After */
    struct slice provider_id; /* "rid": the provider's own id of the request */
    /* SETTLE_LINE_ABSENT when the line does not have it. */
    int64_t attempt;        /* "att" */
    int64_t status;         /* "st": 0..999, -1 none */
    int64_t provider_status; /* "rst": the provider's own, before it was mapped for the retry */
    int64_t too_long;       /* "long": 1 when the provider found the prompt too long and a larger model was to be tried */
    int64_t retries;        /* "rc": HAProxy prints +1 when it redispatched */
    int64_t tw, tc, tr, td, ta; /* "Tw" queue, "Tc" connect, "Tr" first byte, "Td" data, "Ta" all */
    int64_t bytes;          /* "B" */
    int64_t ttfb;           /* "ttfb" */
};

/* Text in the arena. 0; -1 with a static phrase in *why when it is no such line. A syslog header or NILVALUE before the first '{' and
 * one trailing newline are passed over. */
int settle_line_parse(struct slice line, struct arena *arena, struct settle_line *out, const char **why)
    __attribute__((warn_unused_result));
/* The provider's answer was an error object with status 200: the second tier made a failed try of it. */
bool settle_line_error_body(const struct settle_line *l);
/* The client went away (first letter C of the termination state), or had gone when the second try's pause was over. */
bool settle_line_client_aborted(const struct settle_line *l);

#endif
