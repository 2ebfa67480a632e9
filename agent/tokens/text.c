#include "tokens/text.h"

#include "base/utf8.h"

#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

void text_buffer_free(struct text_buffer *b)
{
    free(b->p);
    *b = (struct text_buffer){ NULL, 0, 0 };
}

static int reserve(struct text_buffer *b, size_t more)
{
    if (more <= b->capacity - b->n)
        return 0;
    size_t wanted = b->n + more + b->capacity / 2;
    uint8_t *p = realloc(b->p, wanted);
    if (!p)
        return -1;
    b->p = p;
    b->capacity = wanted;
    return 0;
}

static bool continues(const uint8_t *p, const uint8_t *end, uint8_t from, uint8_t to)
{
    return p < end && *p >= from && *p <= to;
}

size_t text_sequence(const uint8_t *p, const uint8_t *end, bool *valid)
{
    uint8_t c = *p, from = 0x80, to = 0xbf;
    size_t more;
    *valid = true;
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        more = 1;
    else if (c >= 0xe0 && c <= 0xef)
        more = 2;
    else if (c >= 0xf0 && c <= 0xf4)
        more = 3;
    else
        more = 0;
    if (c == 0xe0)
        from = 0xa0;
    else if (c == 0xed)
        to = 0x9f;
    else if (c == 0xf0)
        from = 0x90;
    else if (c == 0xf4)
        to = 0x8f;
    *valid = false;
    if (more == 0 || !continues(p + 1, end, from, to))
        return 1;
    for (size_t i = 2; i <= more; i++)
        if (!continues(p + i, end, 0x80, 0xbf))
            return i;
    *valid = true;
    return more + 1;
}

/* Bytes from p that are ASCII and neither of `stop` and `stop2`. */
static size_t plain_run(const uint8_t *p, size_t n, uint8_t stop, uint8_t stop2)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i a = _mm_set1_epi8((char)stop), b = _mm_set1_epi8((char)stop2);
    for (; n - i >= 16; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i hit = _mm_or_si128(x, _mm_or_si128(_mm_cmpeq_epi8(x, a), _mm_cmpeq_epi8(x, b)));
        int mask = _mm_movemask_epi8(hit);
        if (mask)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    while (i < n && p[i] < 0x80 && p[i] != stop && p[i] != stop2)
        i++;
    return i;
}

/* Well-formed text without `stop` from p on, up to about `limit` bytes. */
static size_t valid_run(const uint8_t *p, const uint8_t *end, size_t limit, uint8_t stop)
{
    const uint8_t *start = p, *to = (size_t)(end - p) > limit ? p + limit : end;
    while (p < to) {
        p += plain_run(p, (size_t)(to - p), stop, stop);
        if (p < to && *p >= 0x80)
            p += utf8_blocks(p, to, stop);
        /* Runs of text beyond ASCII, the commonest lengths first. */
        while (p < to && *p >= 0x80) {
            bool valid;
            if (end - p >= 3 && (p[0] & 0xf0) == 0xe0 && p[0] != 0xe0 && p[0] != 0xed && (p[1] & 0xc0) == 0x80 &&
                (p[2] & 0xc0) == 0x80) {
                p += 3;
                continue;
            }
            size_t n = text_sequence(p, end, &valid);
            if (!valid)
                return (size_t)(p - start);
            p += n;
        }
        if (p < to && *p == stop)
            break;
    }
    return (size_t)(p - start);
}

static int append(struct text_buffer *b, const uint8_t *p, size_t n)
{
    if (reserve(b, n) != 0)
        return -1;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    return 0;
}

static int append_code_point(struct text_buffer *b, uint32_t c)
{
    uint8_t u[4];
    size_t n = 0;
    if (c < 0x80) {
        u[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        u[n++] = (uint8_t)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        u[n++] = (uint8_t)(0xe0 | c >> 12);
        u[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
    } else {
        u[n++] = (uint8_t)(0xf0 | c >> 18);
        u[n++] = (uint8_t)(0x80 | (c >> 12 & 63));
        u[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
    }
    if (n && c >= 0x80)
        u[n++] = (uint8_t)(0x80 | (c & 63));
    return append(b, u, n);
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
    int32_t value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i], lower = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static int take_unicode_escape(struct text_source *s, struct text_buffer *b, int32_t c)
{
    const uint8_t *p = s->p + s->at, *end = s->p + s->n;
    s->at += 6;
    if (c < 0xd800 || c > 0xdfff)
        return append_code_point(b, (uint32_t)c);
    if (c < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
        int32_t low = hex4(p + 8, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            s->at += 6;
            return append_code_point(b, 0x10000 + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
        }
    }
    s->replaced = true;
    return append_code_point(b, 0xfffd);
}

/* At a backslash. A wrong escape stands for itself. */
static int take_escape(struct text_source *s, struct text_buffer *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const uint8_t *p = s->p + s->at, *end = s->p + s->n;
    if (end - p >= 2) {
        const char *known = p[1] ? strchr(from, p[1]) : NULL;
        if (known) {
            s->at += 2;
            return append_code_point(b, (uint8_t)to[known - from]);
        }
        int32_t c = p[1] == 'u' ? hex4(p + 2, end) : -1;
        if (c >= 0)
            return take_unicode_escape(s, b, c);
    }
    s->at++;
    return append(b, p, 1);
}

static int take_invalid(struct text_source *s, struct text_buffer *b)
{
    bool valid;
    size_t n = text_sequence(s->p + s->at, s->p + s->n, &valid);
    if (valid)
        return 0;
    s->at += n;
    s->replaced = true;
    return append_code_point(b, 0xfffd);
}

/* Outside strings: white space goes, the rest stays, up to and with the next quote. */
static int take_structure(struct text_source *s, struct text_buffer *b, size_t stop)
{
    while (s->at < stop) {
        uint8_t c = s->p[s->at];
        if (c >= 0x80) {
            size_t n = valid_run(s->p + s->at, s->p + s->n, 1, '"');
            s->at += n;
            return n ? append(b, s->p + s->at - n, n) : take_invalid(s, b);
        }
        s->at++;
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
            continue;
        if (append(b, &c, 1) != 0)
            return -1;
        if (c == '"') {
            s->in_string = true;
            return 0;
        }
    }
    return 0;
}

/* Inside a string of a value that is minified: as it stands, up to and with the closing quote. */
static int take_raw_string(struct text_source *s, struct text_buffer *b, size_t stop)
{
    while (s->at < stop) {
        const uint8_t *p = s->p + s->at;
        size_t n = plain_run(p, s->n - s->at < stop - s->at ? s->n - s->at : stop - s->at, '"', '\\');
        if (append(b, p, n) != 0)
            return -1;
        s->at += n;
        if (s->at >= stop)
            return 0;
        p += n;
        if (*p >= 0x80) {
            n = valid_run(p, s->p + s->n, stop - s->at, '"');
            const uint8_t *slash = memchr(p, '\\', n);
            n = slash ? (size_t)(slash - p) : n;
            if (append(b, p, n) != 0 || (s->at += n, n == 0 && take_invalid(s, b) != 0))
                return -1;
        } else if (*p == '"') {
            s->at++;
            s->in_string = false;
            return append(b, p, 1);
        } else {
            /* A backslash and what it escapes; the byte behind it may start a longer character. */
            n = s->n - s->at >= 2 && p[1] < 0x80 ? 2 : 1;
            if (append(b, p, n) != 0)
                return -1;
            s->at += n;
        }
    }
    return 0;
}

static int copy_step(struct text_source *s, struct text_buffer *b, size_t stop)
{
    while (s->at < stop) {
        if (s->how == TOKENS_OF_JSON_VALUE) {
            if ((s->in_string ? take_raw_string(s, b, stop) : take_structure(s, b, stop)) != 0)
                return -1;
            continue;
        }
        bool escapes = s->how == TOKENS_OF_JSON_STRING;
        size_t n = valid_run(s->p + s->at, s->p + s->n, stop - s->at, escapes ? '\\' : 0);
        /* Text may hold NUL bytes; as the stop byte they cost a turn each. */
        if (n == 0 && !escapes && s->p[s->at] == 0)
            n = 1;
        if (append(b, s->p + s->at, n) != 0)
            return -1;
        s->at += n;
        if (s->at >= s->n || n > 0)
            continue;
        if ((escapes && s->p[s->at] == '\\' ? take_escape(s, b) : take_invalid(s, b)) != 0)
            return -1;
    }
    return 0;
}

void text_source_start(struct text_source *s, enum token_input how, struct slice input)
{
    *s = (struct text_source){ .p = (const uint8_t *)input.p, .n = input.n, .how = how };
    s->copying = how == TOKENS_OF_JSON_VALUE;
}

int text_source_step(struct text_source *s, struct text_buffer *b, size_t work)
{
    size_t stop = s->n - s->at > work ? s->at + work : s->n;
    if (s->copying)
        return copy_step(s, b, stop) != 0 ? -1 : s->at >= s->n;
    while (s->at < stop) {
        size_t n = valid_run(s->p + s->at, s->p + s->n, stop - s->at, s->how == TOKENS_OF_JSON_STRING ? '\\' : 0);
        if (n == 0 && s->how == TOKENS_OF_TEXT && s->p[s->at] == 0)
            n = 1;
        s->at += n;
        if (n == 0) {
            s->copying = true;
            s->at = 0;
            return 0;
        }
    }
    return s->at >= s->n;
}
