#include "base/json_scan.h"

#include "base/utf8.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    STEP_WORK = 16,          /* to a member or element */
    STRETCH = JSON_STRETCH   /* bytes read without counting */
};

/* Of strings, whatever is in them. */
static size_t string_work(size_t bytes)
{
    return bytes / 2;
}

static const char *stretch_end(const char *p, const char *end)
{
    return end - p > STRETCH ? p + STRETCH : end;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

const char *json_plain_run_portable(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;

    while ((size_t)(end - p) >= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        uint64_t quote = v ^ ones * '"', back = v ^ ones * '\\';
        /* The high bit of a byte shows: below 0x20, equal to quote or backslash, or not ASCII. A borrow can only mark bytes above
         * one that is marked rightly, and the bytes of a marked word are looked at one by one. */
        uint64_t stop = (v - ones * 0x20) | (quote - ones) | (back - ones) | v;
        if (stop & high)
            break;
        p += 8;
    }
    while (p < end && is_plain((unsigned char)*p))
        p++;
    return p;
}

#if defined(__SSE2__)
static inline unsigned stops16(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    /* Signed compare: bytes from 0x80 are negative, so "below 0x20" takes them in. */
    __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))),
                                _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)));
    return (unsigned)_mm_movemask_epi8(stop);
}

const char *json_plain_run(const char *p, const char *end)
{
    while ((size_t)(end - p) >= 16) {
        unsigned m = stops16(p);
        if (m != 0)
            return p + __builtin_ctz(m);
        p += 16;
    }
    while (p < end && is_plain((unsigned char)*p))
        p++;
    return p;
}
#else
const char *json_plain_run(const char *p, const char *end)
{
    return json_plain_run_portable(p, end);
}
#endif

static bool fail_at(struct json_scan *s, const char *at, const char *phrase)
{
    if (s->error == NULL) {
        s->error = phrase;
        s->error_at = (size_t)(at - s->begin);
    }
    return false;
}

static bool fail_end(struct json_scan *s, const char *phrase)
{
    if (s->error == NULL)
        s->truncated = true;
    return fail_at(s, s->end, phrase);
}

void json_scan_fail(struct json_scan *s, const char *phrase)
{
    fail_at(s, s->p, phrase);
}

static void skip_blanks(struct json_scan *s)
{
    for (;;) {
        const char *p = s->p, *stop = stretch_end(p, s->end);
        while (p < stop && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
            p++;
        s->p = p;
        if (p < stop || p == s->end)
            return;
        json_scan_spend(s, STRETCH);
    }
}

void json_scan_begin(struct json_scan *s, struct slice text)
{
    *s = (struct json_scan){ .begin = text.n ? text.p : "", .fresh = false };
    s->p = s->begin;
    s->end = s->begin + text.n;
    if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        fail_at(s, s->p, "begins with a byte order mark, which JSON does not allow");
    skip_blanks(s);
}

enum json_kind json_scan_kind(struct json_scan *s)
{
    if (s->error != NULL)
        return JSON_INVALID;
    if (s->p == s->end) {
        fail_end(s, "ends where a value is needed");
        return JSON_INVALID;
    }
    switch (*s->p) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 't': return JSON_TRUE;
    case 'f': return JSON_FALSE;
    case 'n': return JSON_NULL;
    default:
        if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9'))
            return JSON_NUMBER;
        fail_at(s, s->p, "has something that is no JSON value");
        return JSON_INVALID;
    }
}

static bool in_object(const struct json_scan *s)
{
    unsigned d = s->depth - 1;
    return s->objects[d / 64] >> (d % 64) & 1;
}

bool json_scan_enter(struct json_scan *s)
{
    enum json_kind k = json_scan_kind(s);
    if (k != JSON_OBJECT && k != JSON_ARRAY)
        return fail_at(s, s->p, "has no object or array where one is needed");
    if (s->depth == JSON_MAX_DEPTH)
        return fail_at(s, s->p, "nests objects and arrays more than 256 deep");
    uint64_t bit = (uint64_t)1 << (s->depth % 64);
    if (k == JSON_OBJECT)
        s->objects[s->depth / 64] |= bit;
    else
        s->objects[s->depth / 64] &= ~bit;
    s->depth++;
    s->fresh = true;
    s->p++;
    return true;
}

/* 16 + value, so that 0 is no digit. */
static const uint8_t hex_digits[256] = {
    ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21, ['6'] = 22, ['7'] = 23, ['8'] = 24, ['9'] = 25,
    ['a'] = 26, ['b'] = 27, ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31,
    ['A'] = 26, ['B'] = 27, ['C'] = 28, ['D'] = 29, ['E'] = 30, ['F'] = 31
};

static inline int hex4(const char *p)
{
    unsigned a = hex_digits[(unsigned char)p[0]], b = hex_digits[(unsigned char)p[1]], c = hex_digits[(unsigned char)p[2]],
             d = hex_digits[(unsigned char)p[3]];
    return a & b & c & d & 16 ? (int)((a & 15) << 12 | (b & 15) << 8 | (c & 15) << 4 | (d & 15)) : -1;
}

/* Reads \uXXXX or a surrogate pair at p (which points behind "\u"); returns the bytes used, 0 for a bad escape. *code is 0xfffd for a
 * lone surrogate, with *lone set. */
static size_t unicode_escape(const char *p, const char *end, uint32_t *code, bool *lone)
{
    if ((size_t)(end - p) < 4)
        return 0;
    int v = hex4(p), w;
    if (v < 0)
        return 0;
    *code = (uint32_t)v;
    if (v < 0xd800 || v > 0xdfff)
        return 4;
    if (v < 0xdc00 && (size_t)(end - p) >= 10 && p[4] == '\\' && p[5] == 'u' && (w = hex4(p + 6)) >= 0xdc00 && w <= 0xdfff) {
        *code = 0x10000 + (((uint32_t)v & 0x3ff) << 10 | ((uint32_t)w & 0x3ff));
        return 10;
    }
    *code = 0xfffd;
    *lone = true;
    return 4;
}

static const bool short_escapes[256] = { ['"'] = true, ['\\'] = true, ['/'] = true, ['b'] = true,
                                         ['f'] = true, ['n'] = true,  ['r'] = true, ['t'] = true };

/* One escape; p is behind the backslash. NULL: error set. */
static const char *check_escape(struct json_scan *s, const char *p, bool *lone)
{
    if (p == s->end) {
        fail_end(s, "ends inside a string");
        return NULL;
    }
    if (*p != 'u') {
        if (short_escapes[(unsigned char)*p])
            return p + 1;
        fail_at(s, p - 1, "has an unknown escape in a string");
        return NULL;
    }
    uint32_t code;
    size_t n = unicode_escape(p + 1, s->end, &code, lone);
    if (n != 0)
        return p + 1 + n;
    const char *q = p + 1;
    while (q < s->end && q - p <= 4 && ((*q >= '0' && *q <= '9') || ((*q | 32) >= 'a' && (*q | 32) <= 'f')))
        q++;
    if (q == s->end)
        fail_end(s, "ends inside a string");
    else
        fail_at(s, p - 1, "has a \\u escape without four hexadecimal digits");
    return NULL;
}

static bool continues(const char *p, unsigned low, unsigned high)
{
    unsigned char c = (unsigned char)*p;
    return c >= low && c <= high;
}

/* Length of the well-formed sequence at p (RFC 3629 section 4, lead byte from 0x80): 0 malformed, -1 cut by the end. */
static int utf8_sequence(const char *p, const char *end)
{
    unsigned char c = (unsigned char)*p;
    size_t left = (size_t)(end - p);
    unsigned low = 0x80, high = 0xbf;
    int n;

    if (c >= 0xc2 && c <= 0xdf)
        n = 2;
    else if ((c & 0xf0) == 0xe0)
        n = 3;
    else if (c >= 0xf0 && c <= 0xf4)
        n = 4;
    else
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (int i = 1; i < n; i++) {
        if ((size_t)i == left)
            return -1;
        if (!continues(p + i, i == 1 ? low : 0x80, i == 1 ? high : 0xbf))
            return 0;
    }
    return n;
}

/* A run of non-ASCII or a stretch of it, and perhaps more of the string. NULL: error set. */
static const char *check_utf8(struct json_scan *s, const char *p)
{
    const char *stop = stretch_end(p, s->end);

    p += utf8_json_blocks((const uint8_t *)p, (const uint8_t *)stop);
    while (p < stop && (unsigned char)*p >= 0x80) {
        /* The usual three bytes of CJK without the general checks. */
        if ((unsigned char)*p >= 0xe1 && (unsigned char)*p <= 0xec && s->end - p >= 3 && continues(p + 1, 0x80, 0xbf) &&
            continues(p + 2, 0x80, 0xbf)) {
            p += 3;
            continue;
        }
        int n = utf8_sequence(p, s->end);
        if (n < 0) {
            fail_end(s, "ends inside a string");
            return NULL;
        }
        if (n == 0) {
            fail_at(s, p, "has a string that is not UTF-8");
            return NULL;
        }
        p += n;
    }
    return p;
}

bool json_scan_string(struct json_scan *s, struct json_text *out)
{
    if (s->error != NULL || s->p == s->end || *s->p != '"')
        return false;
    const char *start = s->p + 1, *p = start, *counted = start;
    bool escaped = false, lone = false;
    for (;;) {
        const char *stop = stretch_end(p, s->end);
        p = json_plain_run(p, stop);
        if (p - counted >= STRETCH) {
            json_scan_spend(s, string_work((size_t)(p - counted)));
            counted = p;
        }
        if (p == s->end)
            return fail_end(s, "ends inside a string");
        if (p == stop)
            continue;
        unsigned char c = (unsigned char)*p;
        if (c == '"')
            break;
        if (c == '\\') {
            stop = stretch_end(p, s->end);
            escaped = true;
            do
                p = check_escape(s, p + 1, &lone);
            while (p != NULL && p < stop && *p == '\\');
        } else if (c >= 0x80) {
            p = check_utf8(s, p);
        } else {
            return fail_at(s, p, "has a control byte in a string that must be escaped (a newline is written \\n)");
        }
        if (p == NULL)
            return false;
    }
    *out = (struct json_text){ .raw = slice_make(start, (size_t)(p - start)), .escaped = escaped, .lone = lone };
    s->lone_surrogate = s->lone_surrogate || lone;
    s->p = p + 1;
    json_scan_spend(s, string_work((size_t)(p - counted)));
    return true;
}

static const char *digits(struct json_scan *s, const char *p)
{
    for (;;) {
        const char *stop = stretch_end(p, s->end);
        while (p < stop && *p >= '0' && *p <= '9')
            p++;
        if (p < stop || p == s->end)
            return p;
        json_scan_spend(s, STRETCH);
    }
}

static bool skip_number(struct json_scan *s)
{
    const char *p = s->p, *q;

    if (*p == '-')
        p++;
    q = digits(s, p);
    if (q == p)
        goto bad;
    if (*p == '0' && q - p > 1)
        return fail_at(s, p, "has a number with a leading zero");
    p = q;
    if (p < s->end && *p == '.') {
        q = digits(s, ++p);
        if (q == p)
            goto bad;
        p = q;
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < s->end && (*p == '+' || *p == '-'))
            p++;
        q = digits(s, p);
        if (q == p)
            goto bad;
        p = q;
    }
    s->p = p;
    return true;
bad:
    return p == s->end ? fail_end(s, "ends inside a number") : fail_at(s, p, "has a number that lacks a digit");
}

static bool skip_word(struct json_scan *s, const char *word)
{
    size_t n = strlen(word), left = (size_t)(s->end - s->p);
    if (left < n && memcmp(s->p, word, left) == 0)
        return fail_end(s, "ends inside true, false or null");
    if (left < n || memcmp(s->p, word, n) != 0)
        return fail_at(s, s->p, "has something that is no JSON value");
    s->p += n;
    return true;
}

static bool skip_scalar(struct json_scan *s, enum json_kind k)
{
    struct json_text t;
    switch (k) {
    case JSON_STRING: return json_scan_string(s, &t);
    case JSON_NUMBER: return skip_number(s);
    case JSON_TRUE: return skip_word(s, "true");
    case JSON_FALSE: return skip_word(s, "false");
    case JSON_NULL: return skip_word(s, "null");
    default: return false;
    }
}

/* Moves to the next member or element of the innermost container: true at it, false when it was left or at an error. */
static bool step(struct json_scan *s, char close, const char *phrase)
{
    if (s->error != NULL)
        return false;
    json_scan_spend(s, STEP_WORK);
    skip_blanks(s);
    if (s->p == s->end)
        return fail_end(s, close == '}' ? "ends inside an object" : "ends inside an array");
    if (*s->p == close) {
        s->p++;
        s->depth--;
        s->fresh = false;
        return false;
    }
    if (!s->fresh) {
        if (*s->p != ',')
            return fail_at(s, s->p, phrase);
        s->p++;
        skip_blanks(s);
        if (s->p == s->end)
            return fail_end(s, close == '}' ? "ends inside an object" : "ends inside an array");
        if (*s->p == close)
            return fail_at(s, s->p, "has a comma before a closing bracket");
    }
    s->fresh = false;
    return true;
}

bool json_scan_key(struct json_scan *s, struct json_text *key)
{
    if (!step(s, '}', "lacks ',' or '}' after a member"))
        return false;
    if (*s->p != '"')
        return fail_at(s, s->p, "lacks a name in double quotes");
    if (!json_scan_string(s, key))
        return false;
    skip_blanks(s);
    if (s->p == s->end)
        return fail_end(s, "ends inside an object");
    if (*s->p != ':')
        return fail_at(s, s->p, "lacks ':' after a name");
    s->p++;
    skip_blanks(s);
    return json_scan_kind(s) != JSON_INVALID;
}

bool json_scan_element(struct json_scan *s)
{
    return step(s, ']', "lacks ',' or ']' after an element") && json_scan_kind(s) != JSON_INVALID;
}

static bool skip_container(struct json_scan *s)
{
    unsigned base = s->depth;
    struct json_text key;

    if (!json_scan_enter(s))
        return false;
    while (s->depth > base) {
        bool more = in_object(s) ? json_scan_key(s, &key) : json_scan_element(s);
        if (s->error != NULL)
            return false;
        if (!more)
            continue;
        enum json_kind k = json_scan_kind(s);
        if (!(k == JSON_OBJECT || k == JSON_ARRAY ? json_scan_enter(s) : skip_scalar(s, k)))
            return false;
    }
    return true;
}

bool json_scan_skip(struct json_scan *s, struct slice *raw)
{
    const char *start = s->p;
    enum json_kind k = json_scan_kind(s);
    if (!(k == JSON_OBJECT || k == JSON_ARRAY ? skip_container(s) : skip_scalar(s, k)))
        return false;
    if (raw != NULL)
        *raw = slice_make(start, (size_t)(s->p - start));
    return true;
}

bool json_scan_end(struct json_scan *s)
{
    if (s->error != NULL)
        return false;
    skip_blanks(s);
    return s->p == s->end || fail_at(s, s->p, "goes on after its JSON value");
}
