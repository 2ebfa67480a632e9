#include "credential/value.h"

#include "base/private.h"
#include "credential/credential.h"

#include <stdio.h>
#include <stdlib.h>

struct value *value_ref(struct value *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void value_unref(struct value *v)
{
    if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < VALUE_REDACTED; i++)
        redact_remove(v->redacted[i]);
    if (v->aws != NULL)
        aws_keys_clear(v->aws);
    secret_free(v->header);
    free(v->aws);
    free(v);
}

static const char *text_fault(struct slice text, size_t with_scheme)
{
    if (text.n == 0)
        return "the value is empty";
    if (with_scheme > CREDENTIAL_MAX)
        return "the value is longer than 16384 bytes";
    if (text.p[0] == ' ' || text.p[text.n - 1] == ' ' || text.p[0] == '\t' || text.p[text.n - 1] == '\t')
        return "the value begins or ends with a blank";
    if (text.p[0] == '{')
        return "the value is a JSON object, not a key";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '\n' || c == '\r')
            return "the value has more than one line";
        if (c < ' ' || c > '~')
            return "the value holds a byte that is not printable ASCII";
    }
    return NULL;
}

static struct secret *make_header(struct slice scheme, struct slice text, size_t *bare_at)
{
    *bare_at = scheme.n ? scheme.n + 1 : 0;
    size_t n = *bare_at + text.n;
    char *buf = private_alloc(n);
    if (buf == NULL)
        return NULL;
    if (scheme.n > 0) {
        memcpy(buf, scheme.p, scheme.n);
        buf[scheme.n] = ' ';
    }
    memcpy(buf + *bare_at, text.p, text.n);
    struct secret *s = secret_new(buf, n);
    secret_wipe(buf, n);
    private_free(buf);
    return s;
}

static bool fill_header(struct value *v, const char *scheme, struct slice text, const char **fault)
{
    struct slice s = slice_cstr(scheme);
    bool failed = false;

    *fault = text_fault(text, s.n + 1 + text.n);
    if (*fault != NULL)
        return false;
    *fault = "out of memory";
    v->header = make_header(s, text, &v->bare_at);
    v->redacted[0] = redact_add(text, &failed);
    return v->header != NULL && !failed;
}

static bool fill_aws(struct value *v, struct slice text, const char **fault)
{
    bool failed = false;

    *fault = "out of memory";
    v->aws = calloc(1, sizeof *v->aws);
    if (v->aws == NULL || aws_keys_parse(text, v->aws, fault) != 0)
        return false;
    *fault = "out of memory";
    v->redacted[0] = redact_add(secret_view(v->aws->key), &failed);
    if (!failed && v->aws->token != NULL)
        v->redacted[1] = redact_add(secret_view(v->aws->token), &failed);
    return !failed;
}

struct value *value_new(const char *scheme, struct slice text, int64_t expires_mono_us, char *why, size_t why_size)
{
    static atomic_uint serials; /* of the process: a number never names two values */
    const char *fault = "out of memory";
    struct value *v = calloc(1, sizeof *v);

    if (v != NULL) {
        atomic_init(&v->refs, 1);
        do
            v->serial = atomic_fetch_add(&serials, 1) + 1;
        while (v->serial == 0);
        v->expires_mono_us = expires_mono_us;
        if (scheme != NULL ? fill_header(v, scheme, text, &fault) : fill_aws(v, text, &fault))
            return v;
    }
    snprintf(why, why_size, "%s", fault);
    value_unref(v);
    return NULL;
}

static bool secrets_same(const struct secret *a, const struct secret *b)
{
    return a == NULL || b == NULL ? a == b : secret_equal(a, secret_view(b));
}

bool value_same(const struct value *a, const struct value *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    if (a->aws == NULL || b->aws == NULL)
        return a->aws == b->aws && secrets_same(a->header, b->header);
    return strcmp(a->aws->id, b->aws->id) == 0 && secrets_same(a->aws->key, b->aws->key) && secrets_same(a->aws->token, b->aws->token);
}
