#include "observe/trace_context.h"

#include "base/hex.h"

#include <unistd.h>

static bool hex_read(const char *p, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit_lower(p[2 * i]), low = hex_digit_lower(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static char *hex_write(char *to, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *to++ = "0123456789abcdef"[p[i] >> 4];
        *to++ = "0123456789abcdef"[p[i] & 15];
    }
    return to;
}

static bool zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

bool trace_parent_parse(struct slice v, struct trace_context *t)
{
    unsigned char trace[16], parent[8], flags;

    /* version 2, trace-id 32, parent-id 16, trace-flags 2 hexadecimal digits, with '-' between them. */
    if (v.n != TRACE_PARENT_BYTES || v.p[0] != '0' || v.p[1] != '0' || v.p[2] != '-' || v.p[35] != '-' || v.p[52] != '-')
        return false;
    if (!hex_read(v.p + 3, trace, sizeof trace) || !hex_read(v.p + 36, parent, sizeof parent) || !hex_read(v.p + 53, &flags, 1))
        return false;
    if (zero(trace, sizeof trace) || zero(parent, sizeof parent))
        return false;
    memcpy(t->trace_id, trace, sizeof trace);
    memcpy(t->parent_id, parent, sizeof parent);
    t->flags = flags & (TRACE_SAMPLED | TRACE_RANDOM); /* unknown flags are not passed on (3.3) */
    t->parent = true;
    return true;
}

static bool sampled(const unsigned char trace_id[16], uint32_t sample)
{
    uint64_t low = 0;

    for (int i = 8; i < 16; i++)
        low = low << 8 | trace_id[i];
    return (unsigned __int128)low * TRACE_SAMPLE_ALL < (unsigned __int128)sample << 64;
}

/* An id of zeros means none. */
static void id_set(unsigned char *id, const unsigned char *random, size_t n)
{
    memcpy(id, random, n);
    if (zero(id, n))
        id[n - 1] = 1;
}

bool trace_begin(struct trace_context *t, struct slice parent, unsigned parents, uint32_t sample)
{
    unsigned char random[8 * (TRACE_TRIES + 3)];

    if (getentropy(random, sizeof random) != 0)
        return false;
    *t = (struct trace_context){ .flags = 0 };
    id_set(t->span_id, random, 8);
    for (int i = 0; i < TRACE_TRIES; i++)
        id_set(t->try_id[i], random + 8 + 8 * i, 8);
    if (parents == 1 && trace_parent_parse(parent, t))
        return true;
    id_set(t->trace_id, random + sizeof random - 16, 16);
    if (sampled(t->trace_id, sample))
        t->flags = TRACE_SAMPLED;
    return true;
}

void trace_parent_write(const struct trace_context *t, unsigned number, char out[static TRACE_PARENT_BYTES + 1])
{
    char *p = out;

    *p++ = '0';
    *p++ = '0';
    *p++ = '-';
    p = hex_write(p, t->trace_id, sizeof t->trace_id);
    *p++ = '-';
    p = hex_write(p, t->try_id[number], sizeof t->try_id[number]);
    *p++ = '-';
    p = hex_write(p, &t->flags, 1);
    *p = '\0';
}

void trace_id_write(const struct trace_context *t, char out[static TRACE_ID_BYTES + 1])
{
    *hex_write(out, t->trace_id, sizeof t->trace_id) = '\0';
}

bool trace_state_ok(struct slice v)
{
    if (v.n == 0 || v.n > TRACE_STATE_MAX)
        return false;
    for (size_t i = 0; i < v.n; i++)
        if ((v.p[i] < ' ' && v.p[i] != '\t') || v.p[i] > '~')
            return false;
    return true;
}
