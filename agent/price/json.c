#include "price/json.h"

#include "base/hex.h"

#include <stdint.h>

enum { JSON_DEPTH = 32 };

void json_init(struct json_cursor *c, struct slice text, struct arena *arena)
{
    *c = (struct json_cursor){ .start = text.p, .p = text.p, .end = text.p ? text.p + text.n : NULL, .arena = arena };
}

void json_fail(struct json_cursor *c, const char *error)
{
    if (!c->error)
        c->error = error;
}

unsigned json_line(const struct json_cursor *c)
{
    unsigned line = 1;
    for (const char *p = c->start; p < c->p; p++)
        line += *p == '\n';
    return line;
}

static bool fail(struct json_cursor *c, const char *error)
{
    json_fail(c, error);
    return false;
}

static void skip_space(struct json_cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\r' || *c->p == '\t'))
        c->p++;
}

static bool take(struct json_cursor *c, char want)
{
    skip_space(c);
    if (c->error || c->p == c->end || *c->p != want)
        return false;
    c->p++;
    return true;
}

enum json_kind json_peek(struct json_cursor *c)
{
    skip_space(c);
    if (c->error || c->p == c->end) {
        json_fail(c, "the text ends in the middle");
        return JSON_BAD;
    }
    switch (*c->p) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 't': return JSON_TRUE;
    case 'f': return JSON_FALSE;
    case 'n': return JSON_NULL;
    case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        return JSON_NUMBER;
    default:
        json_fail(c, "a JSON value is expected");
        return JSON_BAD;
    }
}

bool json_enter(struct json_cursor *c, enum json_kind kind)
{
    if (!take(c, kind == JSON_OBJECT ? '{' : '['))
        return fail(c, kind == JSON_OBJECT ? "an object is expected" : "an array is expected");
    if (++c->depth > JSON_DEPTH)
        return fail(c, "nested too deeply");
    return true;
}

/* The separator before the next element; false at the end of the container or on error. */
static bool next(struct json_cursor *c, bool *first, char close)
{
    if (c->error)
        return false;
    if (take(c, close)) {
        c->depth--;
        return false;
    }
    if (!*first && !take(c, ','))
        return fail(c, "',' or the end of the container is expected");
    *first = false;
    return true;
}

bool json_next_item(struct json_cursor *c, bool *first)
{
    return next(c, first, ']');
}

bool json_next_key(struct json_cursor *c, bool *first, struct slice *key)
{
    if (!next(c, first, '}') || !json_string(c, key))
        return false;
    return take(c, ':') || fail(c, "':' is expected after a key");
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static size_t put_utf8(char *out, unsigned long u)
{
    if (u < 0x80) {
        out[0] = (char)u;
        return 1;
    }
    if (u < 0x800) {
        out[0] = (char)(0xC0 | u >> 6);
        out[1] = (char)(0x80 | (u & 63));
        return 2;
    }
    if (u < 0x10000) {
        out[0] = (char)(0xE0 | u >> 12);
        out[1] = (char)(0x80 | (u >> 6 & 63));
        out[2] = (char)(0x80 | (u & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | u >> 18);
    out[1] = (char)(0x80 | (u >> 12 & 63));
    out[2] = (char)(0x80 | (u >> 6 & 63));
    out[3] = (char)(0x80 | (u & 63));
    return 4;
}

/* One \u escape (and its second half) at p, behind the 'u'. Returns the bytes read, 0 on error. */
static size_t unicode_escape(const char *p, const char *end, char *out, size_t *written)
{
    if (end - p < 4)
        return 0;
    int u = hex4(p);
    if (u < 0 || (u >= 0xDC00 && u <= 0xDFFF))
        return 0;
    if (u < 0xD800 || u > 0xDBFF) {
        *written = put_utf8(out, (unsigned long)u);
        return 4;
    }
    if (end - p < 10 || p[4] != '\\' || p[5] != 'u')
        return 0;
    int low = hex4(p + 6);
    if (low < 0xDC00 || low > 0xDFFF)
        return 0;
    *written = put_utf8(out, 0x10000 + ((unsigned long)(u - 0xD800) << 10) + (unsigned long)(low - 0xDC00));
    return 10;
}

static bool unescape(struct json_cursor *c, struct slice raw, struct slice *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char *w = arena_alloc(c->arena, raw.n + 1);
    if (!w)
        return fail(c, "out of memory");
    size_t n = 0;
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        if (*p != '\\') {
            w[n++] = *p++;
            continue;
        }
        p++; /* the scan before made sure that a byte follows */
        const char *simple = *p ? strchr(from, *p) : NULL;
        size_t written = 1, used = 1;
        if (simple) {
            w[n] = to[simple - from];
        } else {
            used = *p == 'u' ? unicode_escape(p + 1, end, w + n, &written) : 0;
            if (!used)
                return fail(c, "a bad escape in a string");
            used++;
        }
        n += written;
        p += used;
    }
    *out = slice_make(w, n);
    return true;
}

bool json_string(struct json_cursor *c, struct slice *out)
{
    if (!take(c, '"'))
        return fail(c, "a string is expected");
    const char *start = c->p;
    bool escaped = false;
    for (; c->p < c->end && *c->p != '"'; c->p++) {
        if ((unsigned char)*c->p < 0x20)
            return fail(c, "a control character in a string");
        if (*c->p != '\\')
            continue;
        escaped = true;
        if (++c->p == c->end)
            break;
    }
    if (c->p == c->end)
        return fail(c, "a string does not end");
    *out = slice_make(start, (size_t)(c->p - start));
    c->p++;
    return !escaped || unescape(c, *out, out);
}

static size_t digits(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return (size_t)(p - start);
}

/* RFC 8259, section 6. */
bool json_number(struct json_cursor *c, struct slice *text)
{
    skip_space(c);
    const char *p = c->p;
    if (c->error)
        return false;
    if (p < c->end && *p == '-')
        p++;
    size_t n = digits(p, c->end);
    if (n == 0 || (n > 1 && *p == '0'))
        return fail(c, "a number is expected");
    p += n;
    if (p < c->end && *p == '.') {
        n = digits(++p, c->end);
        if (n == 0)
            return fail(c, "digits are expected behind the point");
        p += n;
    }
    if (p < c->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < c->end && (*p == '+' || *p == '-'))
            p++;
        n = digits(p, c->end);
        if (n == 0)
            return fail(c, "digits are expected in the exponent");
        p += n;
    }
    *text = slice_make(c->p, (size_t)(p - c->p));
    c->p = p;
    return true;
}

static bool literal(struct json_cursor *c, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
        return fail(c, "a JSON value is expected");
    c->p += n;
    return true;
}

bool json_skip(struct json_cursor *c)
{
    struct slice ignored;
    bool first = true;
    switch (json_peek(c)) {
    case JSON_OBJECT:
        if (!json_enter(c, JSON_OBJECT))
            return false;
        while (json_next_key(c, &first, &ignored))
            if (!json_skip(c))
                return false;
        break;
    case JSON_ARRAY:
        if (!json_enter(c, JSON_ARRAY))
            return false;
        while (json_next_item(c, &first))
            if (!json_skip(c))
                return false;
        break;
    case JSON_STRING: return json_string(c, &ignored);
    case JSON_NUMBER: return json_number(c, &ignored);
    case JSON_TRUE: return literal(c, "true");
    case JSON_FALSE: return literal(c, "false");
    case JSON_NULL: return literal(c, "null");
    case JSON_BAD: break;
    }
    return !c->error;
}

bool json_end(struct json_cursor *c)
{
    skip_space(c);
    if (!c->error && c->p != c->end)
        json_fail(c, "something follows the end");
    return !c->error;
}
