#include "relay/relay_http.h"

#include "base/hex.h"

#include <strings.h>

enum { LINE_MAX_BYTES = 4096 };

/* Takes a line ended by CR LF or LF off the front. False: there is no whole line. */
static bool line_next(struct slice *in, struct slice *line)
{
    const char *nl = in->n > 0 ? memchr(in->p, '\n', in->n) : NULL;
    if (nl == NULL)
        return false;
    *line = slice_make(in->p, (size_t)(nl - in->p));
    *in = slice_make(nl + 1, in->n - line->n - 1);
    if (line->n > 0 && line->p[line->n - 1] == '\r')
        line->n--;
    return true;
}

static struct slice trimmed(struct slice s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_make(s.p + 1, s.n - 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool is_name(struct slice name, const char *lower)
{
    return name.n == strlen(lower) && strncasecmp(name.p, lower, name.n) == 0;
}

/* "name: value". False: the line is no header. */
static bool header_split(struct slice line, struct slice *name, struct slice *value)
{
    const char *colon = line.n > 0 ? memchr(line.p, ':', line.n) : NULL;
    if (colon == NULL || colon == line.p)
        return false;
    *name = slice_make(line.p, (size_t)(colon - line.p));
    *value = trimmed(slice_make(colon + 1, line.n - name->n - 1));
    return true;
}

static int unfinished(struct slice bytes)
{
    return bytes.n > RELAY_HEAD_MAX ? -1 : 0;
}

/* "METHOD target HTTP/1.x" */
static bool request_line(struct slice line, struct relay_request *out)
{
    const char *first = line.n > 0 ? memchr(line.p, ' ', line.n) : NULL;
    if (first == NULL || first == line.p)
        return false;
    struct slice rest = slice_make(first + 1, line.n - (size_t)(first - line.p) - 1);
    const char *second = rest.n > 0 ? memchr(rest.p, ' ', rest.n) : NULL;
    if (second == NULL || !slice_starts(slice_make(second + 1, rest.n - (size_t)(second - rest.p) - 1), SLICE_LIT("HTTP/1.")))
        return false;
    out->path = slice_make(rest.p, (size_t)(second - rest.p));
    const char *query = out->path.n > 0 ? memchr(out->path.p, '?', out->path.n) : NULL;
    if (query != NULL)
        out->path.n = (size_t)(query - out->path.p);
    return true;
}

int relay_request_parse(struct slice bytes, struct relay_request *out)
{
    struct slice in = bytes, line, name, value;

    *out = (struct relay_request){ .size = 0 };
    if (!line_next(&in, &line))
        return unfinished(bytes);
    if (!request_line(line, out))
        return -1;
    while (line_next(&in, &line)) {
        if (line.n == 0) {
            out->size = bytes.n - in.n;
            return out->size > RELAY_HEAD_MAX ? -1 : 1;
        }
        if (!header_split(line, &name, &value))
            return -1;
        if (is_name(name, "x-tg-id"))
            out->id = value;
        else if (is_name(name, "x-tg-l"))
            out->larger = slice_eq_cstr(value, "1");
        else if (is_name(name, "x-tg-a"))
            out->again = value.n > 0;
        else if (is_name(name, "x-tg-w"))
            out->pause = slice_eq_cstr(value, "1");
        else if (is_name(name, "x-tg-pg"))
            out->groups[0] = value;
        else if (is_name(name, "x-tg-fg"))
            out->groups[1] = value;
    }
    return unfinished(bytes);
}

/* "HTTP/1.x 200 ..." */
static bool status_line(struct slice line, int *status)
{
    if (!slice_starts(line, SLICE_LIT("HTTP/1.")) || line.n < 12 || line.p[8] != ' ')
        return false;
    *status = 0;
    for (int i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return false;
        *status = *status * 10 + (line.p[i] - '0');
    }
    return *status >= 100 && (line.n == 12 || line.p[12] == ' ');
}

static bool begins(struct slice value, const char *lower)
{
    size_t n = strlen(lower);
    return value.n >= n && strncasecmp(value.p, lower, n) == 0;
}

/* -1: no number, or none that is believable. */
static int64_t length_of(struct slice value)
{
    int64_t n = 0;

    if (value.n == 0 || value.n > 15)
        return -1;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return -1;
        n = n * 10 + (value.p[i] - '0');
    }
    return n;
}

/* False: a length that is none. */
static bool response_header(struct relay_response *out, struct slice name, struct slice value)
{
    if (is_name(name, "content-type")) {
        out->event_stream = begins(value, "text/event-stream");
        out->json = begins(value, "application/json");
    } else if (is_name(name, "transfer-encoding")) {
        out->chunked = value.n == 7 && begins(value, "chunked");
    } else if (is_name(name, "content-encoding")) {
        out->coded = !is_name(value, "identity");
    } else if (is_name(name, "content-length")) {
        out->length = length_of(value);
        return out->length >= 0;
    }
    return true;
}

int relay_response_parse(struct slice bytes, struct relay_response *out)
{
    struct slice in = bytes, line, name, value;

    *out = (struct relay_response){ .length = -1 };
    if (!line_next(&in, &line))
        return unfinished(bytes);
    if (!status_line(line, &out->status))
        return -1;
    while (line_next(&in, &line)) {
        if (line.n == 0) {
            out->size = bytes.n - in.n;
            return out->size > RELAY_HEAD_MAX ? -1 : 1;
        }
        if (!header_split(line, &name, &value) || !response_header(out, name, value))
            return -1;
    }
    return unfinished(bytes);
}

static void bad(struct relay_chunks *c)
{
    c->state = RELAY_CHUNK_BAD;
}

static void size_byte(struct relay_chunks *c, char byte)
{
    int digit = hex_digit(byte);

    if (++c->line > LINE_MAX_BYTES) {
        bad(c);
    } else if (byte == '\n') {
        if (!c->digits)
            bad(c);
        else
            c->state = c->left > 0 ? RELAY_CHUNK_DATA : RELAY_CHUNK_TRAILER;
        c->line = 0;
        c->digits = c->extension = false;
    } else if (c->extension || byte == '\r') {
        /* extensions mean nothing here */
    } else if (byte == ';' || byte == ' ' || byte == '\t') {
        c->extension = true;
    } else if (digit < 0 || c->left >> 56 != 0) {
        bad(c);
    } else {
        c->left = c->left << 4 | (unsigned)digit;
        c->digits = true;
    }
}

static void data_end_byte(struct relay_chunks *c, char byte)
{
    if (byte == '\n')
        c->state = RELAY_CHUNK_SIZE;
    else if (byte != '\r')
        bad(c);
}

static void trailer_byte(struct relay_chunks *c, char byte)
{
    if (byte == '\n') {
        if (c->line == 0)
            c->state = RELAY_CHUNK_DONE;
        c->line = 0;
    } else if (byte != '\r' && ++c->line > LINE_MAX_BYTES) {
        bad(c);
    }
}

struct slice relay_chunks_next(struct relay_chunks *c, struct slice *in)
{
    while (in->n > 0 && c->state < RELAY_CHUNK_DONE) {
        if (c->state == RELAY_CHUNK_DATA) {
            size_t n = in->n < c->left ? in->n : (size_t)c->left;
            struct slice data = slice_make(in->p, n);
            *in = slice_make(in->p + n, in->n - n);
            c->left -= n;
            if (c->left == 0)
                c->state = RELAY_CHUNK_DATA_END;
            return data;
        }
        char byte = in->p[0];
        *in = slice_make(in->p + 1, in->n - 1);
        if (c->state == RELAY_CHUNK_SIZE)
            size_byte(c, byte);
        else if (c->state == RELAY_CHUNK_DATA_END)
            data_end_byte(c, byte);
        else
            trailer_byte(c, byte);
    }
    return SLICE_NONE;
}
