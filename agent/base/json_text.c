#include "base/json_scan.h"

#include "base/hex.h"

static size_t utf8_put(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* The four digits at p, or -1. */
static int32_t hex_unit(const char *p, const char *end)
{
    int32_t v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* Decodes the escape at p (behind the backslash) and returns where it ends. A wrong escape, which the scanner never lets through, stands
 * for its letter. */
static const char *unescape_one(const char *p, const char *end, char **out)
{
    static const char letters[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    if (*p != 'u') {
        const char *at = *p == '\0' ? NULL : strchr(letters, *p);
        *(*out)++ = at != NULL ? bytes[at - letters] : *p;
        return p + 1;
    }
    int32_t v = hex_unit(p + 1, end), w;
    if (v < 0) {
        *(*out)++ = 'u';
        return p + 1;
    }
    p += 5;
    uint32_t code = (uint32_t)v;
    if (v >= 0xd800 && v <= 0xdfff) {
        code = 0xfffd;
        if (v < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' && (w = hex_unit(p + 2, end)) >= 0xdc00 && w <= 0xdfff) {
            code = 0x10000 + (((uint32_t)v & 0x3ff) << 10 | ((uint32_t)w & 0x3ff));
            p += 6;
        }
    }
    *out += utf8_put(code, *out);
    return p;
}

size_t json_unescape(struct slice raw, char *out)
{
    if (raw.n == 0)
        return 0;
    const char *p = raw.p, *end = raw.p + raw.n;
    char *start = out;

    while (p < end) {
        const char *q = memchr(p, '\\', (size_t)(end - p));
        size_t n = (size_t)((q != NULL ? q : end) - p);
        memcpy(out, p, n);
        out += n;
        if (q == NULL || q + 1 == end)
            break;
        p = unescape_one(q + 1, end, &out);
    }
    return (size_t)(out - start);
}

struct slice json_text_decode(struct json_text t, struct arena *a)
{
    if (!t.escaped)
        return t.raw.p != NULL ? t.raw : SLICE_LIT("");
    char *p = arena_alloc(a, t.raw.n + 1);
    if (p == NULL)
        return SLICE_NONE;
    size_t n = json_unescape(t.raw, p);
    p[n] = '\0';
    return slice_make(p, n);
}

bool json_text_is(struct json_text t, struct slice name)
{
    char buffer[256];
    if (!t.escaped)
        return slice_eq(t.raw, name);
    /* Unescaping shrinks to a sixth at most: what is longer cannot be the name, and what fits the buffer can be compared. */
    if (t.raw.n > 6 * name.n || t.raw.n < name.n || t.raw.n > sizeof buffer)
        return false;
    return slice_eq(slice_make(buffer, json_unescape(t.raw, buffer)), name);
}

bool json_number_int(struct slice raw, int64_t *out)
{
    size_t i = 0;
    bool negative = raw.n > 0 && raw.p[0] == '-';
    uint64_t v = 0;

    if (negative)
        i = 1;
    if (i == raw.n || raw.n - i > 18)
        return false;
    for (; i < raw.n; i++) {
        if (raw.p[i] < '0' || raw.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(raw.p[i] - '0');
    }
    *out = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

/* Reads one code point; malformed bytes give U+FFFD, one for each byte. */
static uint32_t utf8_take(const unsigned char **pp, const unsigned char *end)
{
    const unsigned char *p = *pp;
    uint32_t c = *p;
    int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1;

    *pp = p + 1;
    if (more <= 0)
        return more == 0 ? c : 0xfffd;
    if (end - p <= more)
        return 0xfffd;
    c &= 0x3fu >> more;
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0xfffd;
        c = c << 6 | (p[i] & 0x3f);
    }
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0xfffd;
    *pp = p + 1 + more;
    return c;
}

static char *put_unit(char *out, uint32_t unit)
{
    static const char hex[] = "0123456789abcdef";
    *out++ = '\\';
    *out++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *out++ = hex[unit >> shift & 15];
    return out;
}

size_t json_escape_ascii(struct slice utf8, char *out)
{
    const unsigned char *p = (const unsigned char *)utf8.p, *end = p + utf8.n;
    char *start = out;

    while (utf8.n > 0 && p < end) {
        uint32_t c = utf8_take(&p, end);
        const char *at;
        if (c == '"' || c == '\\') {
            *out++ = '\\';
            *out++ = (char)c;
        } else if (c >= 0x20 && c < 0x7f) {
            *out++ = (char)c;
        } else if (c != 0 && c < 0x20 && (at = strchr("\bb\ff\nn\rr\tt", (int)c)) != NULL) {
            *out++ = '\\';
            *out++ = at[1];
        } else if (c >= 0x10000) {
            out = put_unit(out, 0xd800 + ((c - 0x10000) >> 10));
            out = put_unit(out, 0xdc00 + ((c - 0x10000) & 0x3ff));
        } else {
            out = put_unit(out, c);
        }
    }
    return (size_t)(out - start);
}
