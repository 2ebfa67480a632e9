#include "identity/strict.h"

#include <math.h>

enum { DEPTH_MAX = 32 };

static int base64url_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool strict_base64url(struct slice in, uint8_t *out, size_t *n)
{
    uint32_t acc = 0;
    unsigned bits = 0;

    *n = 0;
    if (in.n % 4 == 1)
        return false;
    for (size_t i = 0; i < in.n; i++) {
        int v = base64url_value((unsigned char)in.p[i]);
        if (v < 0)
            return false;
        acc = (acc << 6 | (uint32_t)v) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[(*n)++] = (uint8_t)(acc >> bits);
        }
    }
    return (acc & ((1u << bits) - 1)) == 0;
}

/* ---- the grammar --------------------------------------------------------------------------------------------------- */

struct scan {
    const unsigned char *p, *end;
    struct strict_limits limits;
    unsigned members;
    const char *why;
};

static bool refuse(struct scan *s, const char *why)
{
    if (s->why == NULL)
        s->why = why;
    return false;
}

static void skip_blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool take(struct scan *s, unsigned char c)
{
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool take_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return refuse(s, "is not JSON");
    s->p += n;
    return true;
}

static size_t take_digits(struct scan *s)
{
    const unsigned char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

static bool scan_number(struct scan *s)
{
    take(s, '-');
    if (!take(s, '0') && take_digits(s) == 0)
        return refuse(s, "is not JSON");
    if (take(s, '.') && take_digits(s) == 0)
        return refuse(s, "is not JSON");
    if (s->p < s->end && (*s->p | 0x20) == 'e') {
        s->p++;
        if (!take(s, '+'))
            take(s, '-');
        if (take_digits(s) == 0)
            return refuse(s, "is not JSON");
    }
    return true;
}

/* The four digits after \u; -1 when they are not hexadecimal. */
static int scan_hex4(struct scan *s)
{
    int v = 0;
    if (s->end - s->p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned char c = *s->p++;
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static bool scan_escape(struct scan *s)
{
    if (s->p == s->end)
        return refuse(s, "is not JSON");
    unsigned char c = *s->p++;
    if (c != 'u')
        return strchr("\"\\/bfnrt", c) != NULL && c != 0 ? true : refuse(s, "is not JSON");
    int v = scan_hex4(s);
    if (v < 0)
        return refuse(s, "is not JSON");
    if (v == 0)
        return refuse(s, "holds an escaped NUL");
    if (v >= 0xdc00 && v <= 0xdfff)
        return refuse(s, "holds half of a surrogate pair");
    if (v >= 0xd800 && v <= 0xdbff) {
        if (!take(s, '\\') || !take(s, 'u'))
            return refuse(s, "holds half of a surrogate pair");
        v = scan_hex4(s);
        if (v < 0xdc00 || v > 0xdfff)
            return refuse(s, "holds half of a surrogate pair");
    }
    return true;
}

/* One multi-byte character (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF). */
static bool scan_utf8(struct scan *s)
{
    unsigned char c = *s->p;
    size_t more = c >= 0xc2 && c <= 0xdf ? 1 : c >= 0xe0 && c <= 0xef ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
    if (more == 0 || (size_t)(s->end - s->p) <= more)
        return refuse(s, "is not UTF-8");
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (s->p[1] < low || s->p[1] > high)
        return refuse(s, "is not UTF-8");
    for (size_t i = 2; i <= more; i++)
        if (s->p[i] < 0x80 || s->p[i] > 0xbf)
            return refuse(s, "is not UTF-8");
    s->p += more + 1;
    return true;
}

static bool scan_string(struct scan *s)
{
    if (!take(s, '"'))
        return refuse(s, "is not JSON");
    while (s->p < s->end) {
        unsigned char c = *s->p;
        if (c == '"') {
            s->p++;
            return true;
        }
        if (c < 0x20)
            return refuse(s, "is not JSON");
        if (c == '\\') {
            s->p++;
            if (!scan_escape(s))
                return false;
        } else if (c < 0x80) {
            s->p++;
        } else if (!scan_utf8(s)) {
            return false;
        }
    }
    return refuse(s, "is not JSON");
}

static bool scan_value(struct scan *s, unsigned depth);

static bool scan_object(struct scan *s, unsigned depth)
{
    skip_blanks(s);
    if (take(s, '}'))
        return true;
    do {
        if (++s->members > s->limits.members)
            return refuse(s, "has too many members");
        skip_blanks(s);
        if (!scan_string(s))
            return false;
        skip_blanks(s);
        if (!take(s, ':'))
            return refuse(s, "is not JSON");
        if (!scan_value(s, depth))
            return false;
    } while (take(s, ','));
    return take(s, '}') ? true : refuse(s, "is not JSON");
}

static bool scan_array(struct scan *s, unsigned depth)
{
    skip_blanks(s);
    if (take(s, ']'))
        return true;
    do {
        if (!scan_value(s, depth))
            return false;
    } while (take(s, ','));
    return take(s, ']') ? true : refuse(s, "is not JSON");
}

/* A value with the blanks around it. */
static bool scan_value(struct scan *s, unsigned depth)
{
    bool good;

    skip_blanks(s);
    if (s->p == s->end)
        return refuse(s, "is not JSON");
    if ((*s->p == '{' || *s->p == '[') && depth == 0)
        return refuse(s, "is nested too deeply");
    switch (*s->p) {
    case '{': s->p++; good = scan_object(s, depth - 1); break;
    case '[': s->p++; good = scan_array(s, depth - 1); break;
    case '"': good = scan_string(s); break;
    case 't': good = take_word(s, "true"); break;
    case 'f': good = take_word(s, "false"); break;
    case 'n': good = take_word(s, "null"); break;
    default: good = scan_number(s); break;
    }
    skip_blanks(s);
    return good;
}

/* ---- what the grammar cannot say ------------------------------------------------------------------------------------ */

static const char *tree_fault(const cJSON *node)
{
    const char *why;

    if (cJSON_IsNumber(node) && !isfinite(node->valuedouble))
        return "holds a number out of range";
    for (const cJSON *c = node->child; c != NULL; c = c->next) {
        if (cJSON_IsObject(node))
            for (const cJSON *d = c->next; d != NULL; d = d->next)
                if (strcmp(c->string, d->string) == 0)
                    return "names a member twice";
        if ((why = tree_fault(c)) != NULL)
            return why;
    }
    return NULL;
}

cJSON *strict_json_object(struct slice text, struct strict_limits limits, const char **why)
{
    struct scan s = { .p = (const unsigned char *)text.p, .limits = limits };

    *why = "is empty";
    if (text.n == 0)
        return NULL;
    *why = NULL;
    s.end = s.p + text.n;
    if (s.limits.depth > DEPTH_MAX)
        s.limits.depth = DEPTH_MAX;
    skip_blanks(&s);
    if (s.p == s.end || *s.p != '{' || !scan_value(&s, s.limits.depth) || s.p != s.end) {
        *why = s.why ? s.why : "is not a JSON object";
        return NULL;
    }
    cJSON *tree = cJSON_ParseWithLength(text.p, text.n);
    *why = tree ? tree_fault(tree) : "cannot be read";
    if (*why != NULL) {
        cJSON_Delete(tree);
        return NULL;
    }
    return tree;
}

const cJSON *strict_member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

const char *strict_string(const cJSON *object, const char *name)
{
    const cJSON *m = strict_member(object, name);
    return cJSON_IsString(m) ? m->valuestring : NULL;
}
