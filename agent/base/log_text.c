#include "base/log_text.h"

#include <stdint.h>
#include <stdio.h>

bool log_text_plain(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
            return false;
    }
    return s.n > 0;
}

/* The character at p and its length (RFC 3629: no overlong forms, no surrogates, up to U+10FFFF); 0: invalid. */
static size_t character(const unsigned char *p, size_t n, uint32_t *out)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t len = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    uint32_t c;

    if (len == 0 || len > n)
        return 0;
    c = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *out = c;
    return len;
}

static size_t put_json(char *to, uint32_t c)
{
    if (c == '"' || c == '\\') {
        to[0] = '\\';
        to[1] = (char)c;
        return 2;
    }
    if (c >= ' ' && c < 0x7f) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x10000)
        return (size_t)snprintf(to, 7, "\\u%04x", c);
    return (size_t)snprintf(to, 13, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
}

static size_t put_fmt(char *to, unsigned char c)
{
    if (c == '"' || c == '\\') {
        to[0] = '\\';
        to[1] = (char)c;
        return 2;
    }
    if (c < ' ' || c >= 0x7f)
        return (size_t)snprintf(to, 5, "\\x%02x", c);
    to[0] = (char)c;
    return 1;
}

/* One character, or one byte that is none, from p; what stands for it in `one` (room for 13). Returns the bytes taken. */
static size_t escape_one(enum log_escape how, const unsigned char *p, size_t n, char *one, size_t *len)
{
    uint32_t c;

    if (how == LOG_ESCAPE_FMT) {
        *len = put_fmt(one, *p);
        return 1;
    }
    size_t taken = character(p, n, &c);
    if (how == LOG_ESCAPE_JSON) {
        *len = put_json(one, taken > 0 ? c : 0xfffd);
    } else if (taken == 0 || c < ' ' || (c >= 0x7f && c < 0xa0)) {
        *len = (size_t)snprintf(one, 5, "\\x%02x", *p);
        return 1; /* the bytes after a C1 control's first are invalid by themselves */
    } else {
        memcpy(one, p, taken);
        *len = taken;
    }
    return taken > 0 ? taken : 1;
}

size_t log_text_escape(enum log_escape how, char *to, size_t room, struct slice s, size_t *used)
{
    size_t n = 0, i = 0, len;
    char one[13];

    while (i < s.n) {
        size_t taken = escape_one(how, (const unsigned char *)s.p + i, s.n - i, one, &len);
        if (len > room - n)
            break;
        memcpy(to + n, one, len);
        n += len;
        i += taken;
    }
    *used = i;
    return n;
}

void log_text_json(FILE *out, struct slice s)
{
    char block[1024];
    size_t used;

    putc('"', out);
    for (; s.n > 0; s = slice_make(s.p + used, s.n - used))
        fwrite(block, 1, log_text_escape(LOG_ESCAPE_JSON, block, sizeof block, s, &used), out);
    putc('"', out);
}
