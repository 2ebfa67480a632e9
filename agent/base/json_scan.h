/* JSON scanner: walks one whole RFC 8259 document in place, front to back, once.
 *
 * The caller pulls: what kind of value is at the cursor, step into it, next key, next element, read or skip. Every byte passed over is
 * held to the grammar, also in values that are skipped: strict UTF-8 (RFC 3629), no raw control bytes, numbers by the grammar,
 * nothing behind the value. Linear time, no recursion, no memory beyond this struct, no byte behind the text is read.
 * Errors are sticky: after the first, every call returns false, and `error` (a static phrase that fits behind "the body") and
 * `error_at` (byte offset) say what is wrong. Lone surrogate escapes are legal JSON: they are let through and noted.
 *
 * Work is counted as it goes, 1 being some 0.5 ns. With `pause` set it is called whenever `left` is used up, in the midst of whatever was
 * called; it sets `left` anew. No stretch between two calls is longer than JSON_STRETCH beyond that. */
#ifndef TOLLGATE_BASE_JSON_SCAN_H
#define TOLLGATE_BASE_JSON_SCAN_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdint.h>

#define JSON_MAX_DEPTH 256 /* open arrays and objects; one more is an error */

enum json_kind { JSON_INVALID, JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL };

#define JSON_STRETCH 32768

struct json_scan {
    const char *begin, *p, *end;
    unsigned depth;
    bool fresh;          /* an object or array was just entered */
    bool lone_surrogate; /* a \uD800..\uDFFF escape without its other half was seen, in a key or a string */
    bool truncated;      /* with `error`: the text ended where more was needed */
    const char *error;   /* NULL: none */
    size_t error_at;
    uint64_t objects[JSON_MAX_DEPTH / 64]; /* bit d: the container at depth d is an object */
    int64_t left;        /* work until `pause` is called */
    void (*pause)(void *user);
    void *pause_user;
};

/* A string or key: what stands between its quotes. */
struct json_text {
    struct slice raw;
    bool escaped; /* raw holds at least one backslash */
    bool lone;    /* raw holds a lone surrogate escape */
};

/* Starts at the outer value; `pause` is not set. */
void json_scan_begin(struct json_scan *s, struct slice text);
/* What starts at the cursor, which must be at a value; nothing is read. JSON_INVALID: no value starts here (the error is set). */
enum json_kind json_scan_kind(struct json_scan *s);
/* Steps into the object or array at the cursor. */
bool json_scan_enter(struct json_scan *s);
/* In an object: reads the next key; the cursor is then at its value, which the caller must consume. False: the object has ended (and
 * was left), or error. */
bool json_scan_key(struct json_scan *s, struct json_text *key);
/* In an array: moves to the next element, which the caller must consume. False: the array has ended (and was left), or error. */
bool json_scan_element(struct json_scan *s);
/* Reads the string at the cursor. False, with the cursor unmoved and no error set, when there is another kind of value. */
bool json_scan_string(struct json_scan *s, struct json_text *out);
/* Passes over the value at the cursor, whatever it is. `raw` (NULL allowed) gets its bytes. */
bool json_scan_skip(struct json_scan *s, struct slice *raw);
/* After the outer value: true when nothing but white space follows. */
bool json_scan_end(struct json_scan *s);
/* Counts work that the caller does with what was read. */
static inline void json_scan_spend(struct json_scan *s, size_t work)
{
    s->left -= (int64_t)work;
    if (s->left <= 0 && s->pause != NULL)
        s->pause(s->pause_user);
}
/* Sets an error at the cursor unless there is one already: makes every later call return false. */
void json_scan_fail(struct json_scan *s, const char *phrase);

/* Compared after unescaping: "\u006d" is "m". */
bool json_text_is(struct json_text t, struct slice name);
/* UTF-8, lone surrogates as U+FFFD. Without escapes the slice is raw itself, else it is in the arena; p NULL: memory is out. */
struct slice json_text_decode(struct json_text t, struct arena *a);
/* Unescapes a valid raw string into `out`, which has room for raw.n bytes; returns the bytes written. */
size_t json_unescape(struct slice raw, char *out);
/* The value of an integer written without fraction and exponent. False when it is written otherwise or does not fit. */
bool json_number_int(struct slice raw, int64_t *out);
/* Appends `utf8` escaped for the inside of a JSON string, printable ASCII only (RFC 8259 section 7), bytes that are no UTF-8 as
 * U+FFFD. `out` needs 6 bytes for each byte of input. Returns the bytes written. */
size_t json_escape_ascii(struct slice utf8, char *out);

/* The first byte in [p, end) that ends a run of plain string bytes: quote, backslash, control or non-ASCII; end when there is none.
 * Two ways to find it, for tests: vector code where the CPU has it, and 8 bytes at a time. */
const char *json_plain_run(const char *p, const char *end);
const char *json_plain_run_portable(const char *p, const char *end);

#endif
