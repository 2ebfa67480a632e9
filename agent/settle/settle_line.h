/* Log lines: what HAProxy's ring says of each request (first tier) and of each attempt at a provider (second tier).
 *
 * The lines are JSON, written by the log-format of tollgate.cfg; the ring frames them by octet counts (settle_octets.h). HAProxy writes
 * numbers as strings, "-" or "" where it has no value; both are taken, and read as -1 or empty. */
#ifndef TOLLGATE_SETTLE_LINE_H
#define TOLLGATE_SETTLE_LINE_H

#include "base/arena.h"

#include <stdint.h>

struct settle_line {
    int tier;                /* 1: the client's request; 2: one attempt */
    struct slice id;         /* HAProxy's unique-id */
    int64_t status;          /* "st": what this tier answered; -1 none */
    int64_t provider_status; /* "rst", tier 2: the provider's own status before HAProxy changed it; -1 */
    struct slice termination; /* "tsc": two (or four) letters, HAProxy configuration manual 8.5 */
    struct slice server;     /* "srv", tier 1: "primary", "fallback", "<NOSRV>" */
    struct slice group;      /* "grp": the provider group; empty: none */
    int64_t attempt;         /* "att" */
    int64_t deny;            /* status the agent refused with; -1: it did not */
    struct slice code;
    int64_t spoe_error;      /* "err": set when the agent did not answer; -1 none */
    int64_t wait_ms, connect_ms, response_ms, data_ms, active_ms; /* Tw Tc Tr Td Ta; -1 not reached */
    int64_t bytes;           /* "B": sent to the client */
};

/* False when it is no such line; `why` is static text. Slices are in the arena. */
bool settle_line_parse(struct slice line, struct arena *a, struct settle_line *out, const char **why)
    __attribute__((warn_unused_result));

#endif
