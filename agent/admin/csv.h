/* Reading CSV by RFC 4180: quoted fields, doubled quotes, CRLF or LF, a UTF-8 byte order mark in front. Works in place on text in memory. */
#ifndef TOLLGATE_ADMIN_CSV_H
#define TOLLGATE_ADMIN_CSV_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

enum { CSV_FIELDS_MAX = 64 };

struct csv {
    char *p, *end;
    unsigned line; /* of the record read last, from 1 */
    unsigned next;
};

/* `text` is changed while it is read, and outlives the records. */
void csv_start(struct csv *c, char *text, size_t n);
/* The next record that is not an empty line. The number of fields; 0 at the end; -1 when it has more than CSV_FIELDS_MAX fields or its quotes do not
 * match. */
int csv_next(struct csv *c, struct slice fields[CSV_FIELDS_MAX]) __attribute__((warn_unused_result));

#endif
