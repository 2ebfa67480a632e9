/* Reads a company's haproxy.cfg beside tollgate's plan and says what is unsafe, what contradicts, and which lines to add.
 *
 * What it looks for: requests that might not fit the buffer, streams that would be held back, cut or sent twice, clients' tokens and
 * prompts in logs, provider keys in the file, ways around the gateway, addresses and names taken twice, and settings the plan
 * contradicts. The reasons stand in haproxy/README.md. Nothing is changed and nothing is run. */
#ifndef TOLLGATE_ROUTE_HAPROXY_REVIEW_H
#define TOLLGATE_ROUTE_HAPROXY_REVIEW_H

#include "route/haproxy_config.h"
#include "route/haproxy_text.h"

struct haproxy_review_result {
    unsigned unsafe;    /* costs money, secrets or answers */
    unsigned conflicts; /* HAProxy will not start, or will not do what tollgate's configuration says */
    unsigned notes;
    unsigned additions; /* lines to add */
};

/* Prints findings, one a line ("FILE:LINE: unsafe: what; what to change"), then the lines to add by section. The text's arena is used for
 * work. Values of headers are never printed. False: memory is out. */
bool haproxy_review(struct haproxy_text *t, const struct haproxy_plan *plan, FILE *out, struct haproxy_review_result *result)
    __attribute__((warn_unused_result));

#endif
