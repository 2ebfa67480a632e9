#include "credential/service_account.h"

#include "base/json_scan.h"
#include "base/private.h"

#include <stdlib.h>

enum { KEY_MAX = 16384 };

void service_account_clear(struct service_account *a)
{
    secret_free(a->private_key);
    a->private_key = NULL;
}

/* Into a field of `cap` bytes with its NUL. False: too long, or a byte that no such name has. */
static bool take_text(struct json_text t, char *out, size_t cap)
{
    if (t.raw.n >= cap)
        return false;
    size_t n = json_unescape(t.raw, out);
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (out[i] <= ' ' || out[i] > '~')
            return false;
    return true;
}

static bool take_key(struct json_text t, struct secret **out)
{
    char *buf = t.raw.n > 0 && t.raw.n <= KEY_MAX ? private_alloc(t.raw.n) : NULL;

    if (buf == NULL)
        return false;
    size_t n = json_unescape(t.raw, buf);
    secret_free(*out);
    *out = secret_new(buf, n);
    secret_wipe(buf, t.raw.n);
    private_free(buf);
    return *out != NULL;
}

static bool member(struct json_scan *s, struct json_text key, struct service_account *out, const char **why)
{
    const struct {
        const char *name, *fault;
        char *field;
        size_t cap;
    } fields[] = { { "client_email", "client_email is no address", out->client_email, sizeof out->client_email },
                   { "private_key_id", "private_key_id is no identifier", out->private_key_id, sizeof out->private_key_id },
                   { "token_uri", "token_uri is no address", out->token_uri, sizeof out->token_uri } };
    struct json_text text;

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (json_text_is(key, slice_cstr(fields[i].name))) {
            *why = fields[i].fault;
            return json_scan_string(s, &text) && take_text(text, fields[i].field, fields[i].cap);
        }
    if (json_text_is(key, SLICE_LIT("private_key"))) {
        *why = "private_key is no text, or too long";
        return json_scan_string(s, &text) && take_key(text, &out->private_key);
    }
    *why = "it is not a JSON object";
    return json_scan_skip(s, NULL);
}

int service_account_parse(struct slice text, struct service_account *out, const char **why)
{
    struct json_scan s;
    struct json_text key;
    bool ok = true;

    *out = (struct service_account){ .private_key = NULL };
    *why = "it is not a JSON object";
    json_scan_begin(&s, text);
    if (text.n == 0 || json_scan_kind(&s) != JSON_OBJECT || !json_scan_enter(&s))
        return -1;
    while (ok && json_scan_key(&s, &key))
        ok = member(&s, key, out, why);
    if (ok) {
        *why = "it is not a JSON object";
        ok = json_scan_end(&s);
    }
    if (ok && (out->client_email[0] == '\0' || out->private_key == NULL)) {
        *why = "client_email or private_key is missing";
        ok = false;
    }
    if (!ok)
        service_account_clear(out);
    return ok ? 0 : -1;
}
