/* A small JSON cursor over bytes in memory, for catalogues: strict syntax, bounded depth, numbers left as their text (a double would
 * lose digits). The error is sticky: after it every call fails and json_line says where. Slices point into the input, or into the
 * arena when a string had to be unescaped. */
#ifndef TOLLGATE_PRICE_JSON_H
#define TOLLGATE_PRICE_JSON_H

#include "base/arena.h"

struct json_cursor {
    const char *start, *p, *end;
    struct arena *arena;
    const char *error; /* NULL: none */
    int depth;
};

enum json_kind { JSON_BAD, JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL };

void json_init(struct json_cursor *c, struct slice text, struct arena *arena);
/* The kind of the value that comes next; JSON_BAD on error. */
enum json_kind json_peek(struct json_cursor *c);
/* Enters an object or array; then call json_next_key or json_next_item until it returns false, reading or skipping one value each
 * time. */
bool json_enter(struct json_cursor *c, enum json_kind kind);
bool json_next_key(struct json_cursor *c, bool *first, struct slice *key);
bool json_next_item(struct json_cursor *c, bool *first);
bool json_string(struct json_cursor *c, struct slice *out);
bool json_number(struct json_cursor *c, struct slice *text);
bool json_skip(struct json_cursor *c);
/* True when nothing but white space is left and there was no error. */
bool json_end(struct json_cursor *c);
void json_fail(struct json_cursor *c, const char *error);
/* Line of the cursor, from 1. */
unsigned json_line(const struct json_cursor *c);

#endif
