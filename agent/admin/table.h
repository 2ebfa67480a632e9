/* Results of commands, as a table for people, as CSV or as JSON.
 *
 * Cells are integers or text; nothing here uses floating point. Money is kept in nano-dollars and written as exact decimals: in the
 * table with as many decimals as the column needs (at least two), in CSV with all nine; in JSON the integer itself stands under the
 * column's name with _usd replaced by _nano. All memory belongs to the table; when memory is out the table says so at table_write. */
#ifndef TOLLGATE_ADMIN_TABLE_H
#define TOLLGATE_ADMIN_TABLE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct table;

enum table_format { FORMAT_TABLE, FORMAT_CSV, FORMAT_JSON };

enum table_kind {
    TABLE_TEXT,  /* left-aligned; an empty one is shown as - in the table and stays empty elsewhere */
    TABLE_FIGURE, /* text that holds a figure and its unit: right-aligned, else as TABLE_TEXT */
    TABLE_COUNT, /* integer */
    TABLE_USD,   /* nano-dollars; the column's name ends in _usd */
    TABLE_RATE   /* pico-dollars per token, shown in USD per million tokens; JSON: the integer, _usd replaced by _pico */
};

struct table_column {
    const char *name;
    enum table_kind kind;
    bool total; /* summed in the total line (TABLE_COUNT, TABLE_USD) */
};

/* `columns` stay the caller's and outlive the table. NULL: out of memory. */
struct table *table_new(const struct table_column *columns, size_t count) __attribute__((warn_unused_result));
/* NULL is allowed. */
void table_free(struct table *t);
/* Cells are added from left to right, row after row. Text is copied. */
void table_text(struct table *t, struct slice text);
void table_int(struct table *t, int64_t v);
/* Not known: - in the table, empty in CSV, null in JSON. Not part of the total. */
void table_null(struct table *t);
size_t table_rows(const struct table *t);
/* The sum of a column over all rows. */
int64_t table_sum(const struct table *t, size_t column);

/* Writes everything. Table: heading, rows, and a total line when a column is totalled. CSV: RFC 4180, heading first, lines end in CRLF.
 * JSON: {head"rows":[{...}],"total":{...}} on one line; `head` is text such as "\"from\":\"2026-11-01\",", or "". 0; -1 when memory
 * was out, a total does not fit into 64 bits, or the stream failed: then a reason is on standard error. */
int table_write(const struct table *t, enum table_format format, const char *head, FILE *out) __attribute__((warn_unused_result));

/* One field by RFC 4180: quoted when it holds a comma, a quote, CR or LF. */
void table_csv_field(FILE *out, struct slice text);
/* v / 10^scale with `decimals` digits after the point (decimals <= scale <= 18; what is cut must be zeros to be exact). */
void table_decimal(char *buf, size_t size, int64_t v, int scale, int decimals);

/* "table", "csv", "json". False when it is none of them. */
bool table_format_from_word(const char *word, enum table_format *out);

#endif
