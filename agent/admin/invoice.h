/* Reading a provider's usage or cost export: which column is what, and what a line says. Pure: no files, no ledger.
 *
 * Known shapes, told by their headings: OpenAI's completions usage and costs, Anthropic's usage and cost (console exports), and a plain one:
 * date, model, key, input_tokens, cached_tokens, output_tokens, requests, cost. Columns may come in any order, others are passed over. */
#ifndef TOLLGATE_ADMIN_INVOICE_H
#define TOLLGATE_ADMIN_INVOICE_H

#include "admin/csv.h"

#include <stdint.h>

enum invoice_column {
    INVOICE_DAY, INVOICE_MODEL, INVOICE_LINE_ITEM, INVOICE_KEY, INVOICE_KEY_ID, INVOICE_REQUESTS, INVOICE_INPUT, INVOICE_UNCACHED,
    INVOICE_CACHE_WRITE, INVOICE_CACHE_WRITE_1H, INVOICE_CACHE_READ, INVOICE_CACHED, INVOICE_OUTPUT, INVOICE_COST, INVOICE_CURRENCY,
    INVOICE_COLUMNS
};

struct invoice_heading {
    int at[INVOICE_COLUMNS]; /* index of the field; -1: there is none */
    int fields;
    bool tokens, cached, requests, cost, keys; /* what its lines tell */
};

struct invoice_line {
    bool empty;              /* a stretch of time in which nothing was used */
    bool instant;            /* `start_s` says when, UTC; else only the day as written is known */
    int64_t start_s;
    char day[11];            /* as written: 2026-11-23 */
    struct slice model, key, key_id; /* of the fields; empty: not said */
    int64_t input, cached, output, requests; /* input includes what came from and went to caches */
    int64_t cost_nano;
    int64_t unit_nano;       /* of the last decimal the cost was written with */
};

/* False: no column for something that is needed; `why` says which and what its heading may be. */
bool invoice_heading_read(const struct slice *fields, int n, struct invoice_heading *h, char *why, size_t size) __attribute__((warn_unused_result));
/* Slices point into the fields. False with the reason in `why`. */
bool invoice_line_read(const struct invoice_heading *h, const struct slice *fields, int n, struct invoice_line *out, char *why, size_t size)
    __attribute__((warn_unused_result));

/* A decimal number, with exponent or without ("-0.5", "3.0", "9.5e-05"), in units of 10^-scale, rounded half away from zero; scale up to 9.
 * *exponent: that of the last digit it is written with, at most 0 ("0.50": -2). False when it is none, or beyond 10^17. */
bool invoice_number(struct slice text, int scale, int64_t *out, int *exponent) __attribute__((warn_unused_result));

/* The name a model is matched by: lower case, without "vendor/" in front and a date behind, '-' for blanks and points ("Claude Haiku 4.5" is
 * claude-haiku-4-5). At most size - 1 bytes; the length. */
size_t invoice_model(struct slice name, char *buf, size_t size);

#endif
