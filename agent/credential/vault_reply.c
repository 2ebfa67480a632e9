#include "credential/vault_reply.h"

enum { SHOWN_MAX = 200 };

static bool begin(struct json_scan *s, struct slice object)
{
    json_scan_begin(s, object);
    return object.n > 0 && json_scan_kind(s) == JSON_OBJECT && json_scan_enter(s);
}

bool vault_field(struct slice object, const char *field, struct json_text *out)
{
    struct json_scan s;
    struct json_text key;
    bool found = false;

    if (!begin(&s, object))
        return false;
    while (json_scan_key(&s, &key))
        if (json_text_is(key, slice_cstr(field)))
            found = json_scan_string(&s, out) || (json_scan_skip(&s, NULL) && false);
        else
            json_scan_skip(&s, NULL);
    return found;
}

bool vault_is_true(struct slice object, const char *field)
{
    struct json_scan s;
    struct json_text key;
    bool is = false;

    if (!begin(&s, object))
        return false;
    while (json_scan_key(&s, &key)) {
        if (json_text_is(key, slice_cstr(field)))
            is = json_scan_kind(&s) == JSON_TRUE;
        json_scan_skip(&s, NULL);
    }
    return is;
}

int64_t vault_number(struct slice object, const char *field)
{
    struct json_scan s;
    struct json_text key;
    struct slice raw;
    int64_t n = -1;

    if (!begin(&s, object))
        return -1;
    while (json_scan_key(&s, &key))
        if (json_text_is(key, slice_cstr(field)) && json_scan_kind(&s) == JSON_NUMBER) {
            if (!json_scan_skip(&s, &raw) || !json_number_int(raw, &n) || n < 0)
                n = -1;
        } else {
            json_scan_skip(&s, NULL);
        }
    return n;
}

static bool read_bool(struct json_scan *s, bool *out)
{
    *out = json_scan_kind(s) == JSON_TRUE;
    return json_scan_skip(s, NULL);
}

static bool read_seconds(struct json_scan *s, int64_t *out)
{
    struct slice raw;
    return json_scan_kind(s) == JSON_NUMBER && json_scan_skip(s, &raw) && json_number_int(raw, out) && *out >= 0;
}

static bool read_auth(struct json_scan *s, struct vault_reply *out)
{
    struct json_text key;
    bool ok = true;

    if (json_scan_kind(s) != JSON_OBJECT)
        return json_scan_skip(s, NULL); /* null where there is none */
    if (!json_scan_enter(s))
        return false;
    while (ok && json_scan_key(s, &key)) {
        if (json_text_is(key, SLICE_LIT("client_token")))
            ok = json_scan_string(s, &out->token);
        else if (json_text_is(key, SLICE_LIT("lease_duration")))
            ok = read_seconds(s, &out->token_s);
        else if (json_text_is(key, SLICE_LIT("renewable")))
            ok = read_bool(s, &out->token_renewable);
        else
            ok = json_scan_skip(s, NULL);
    }
    return ok;
}

/* KV 2 wraps the secret once more, beside its metadata. */
static struct slice unwrap(struct slice data)
{
    struct json_scan s;
    struct json_text key;
    struct slice inner = SLICE_NONE;
    bool metadata = false;

    if (!begin(&s, data))
        return data;
    while (json_scan_key(&s, &key)) {
        if (json_text_is(key, SLICE_LIT("data")) && json_scan_kind(&s) == JSON_OBJECT) {
            json_scan_skip(&s, &inner);
        } else {
            metadata = metadata || (json_text_is(key, SLICE_LIT("metadata")) && json_scan_kind(&s) == JSON_OBJECT);
            json_scan_skip(&s, NULL);
        }
    }
    return metadata && inner.p != NULL ? inner : data;
}

static bool read_errors(struct json_scan *s, struct arena *a, struct vault_reply *out)
{
    struct json_text text;

    if (json_scan_kind(s) != JSON_ARRAY)
        return json_scan_skip(s, NULL);
    if (!json_scan_enter(s))
        return false;
    while (json_scan_element(s)) {
        if (out->error.n == 0 && json_scan_string(s, &text)) {
            out->error = json_text_decode(text, a);
            out->error.n = out->error.n > SHOWN_MAX ? SHOWN_MAX : out->error.n;
        } else if (!json_scan_skip(s, NULL)) {
            return false;
        }
    }
    return s->error == NULL;
}

static bool member(struct json_scan *s, struct json_text key, struct arena *a, struct vault_reply *out, const char **why)
{
    struct json_text text;

    *why = "it is not what a vault answers";
    if (json_text_is(key, SLICE_LIT("data")))
        return json_scan_kind(s) == JSON_OBJECT ? json_scan_skip(s, &out->data) : json_scan_skip(s, NULL);
    if (json_text_is(key, SLICE_LIT("lease_duration")))
        return read_seconds(s, &out->lease_s);
    if (json_text_is(key, SLICE_LIT("renewable")))
        return read_bool(s, &out->renewable);
    if (json_text_is(key, SLICE_LIT("lease_id"))) {
        if (!json_scan_string(s, &text) || text.raw.n >= sizeof out->lease_id)
            return false;
        out->lease_id[json_unescape(text.raw, out->lease_id)] = '\0';
        return true;
    }
    if (json_text_is(key, SLICE_LIT("auth")))
        return read_auth(s, out);
    if (json_text_is(key, SLICE_LIT("errors")))
        return read_errors(s, a, out);
    return json_scan_skip(s, NULL);
}

int vault_reply_parse(struct slice body, struct arena *a, struct vault_reply *out, const char **why)
{
    struct json_scan s;
    struct json_text key;

    *out = (struct vault_reply){ .lease_s = 0 };
    *why = "it is not a JSON object";
    if (!begin(&s, body))
        return -1;
    while (json_scan_key(&s, &key))
        if (!member(&s, key, a, out, why))
            return -1;
    *why = "it is not a JSON object";
    if (!json_scan_end(&s))
        return -1;
    if (out->data.p != NULL)
        out->data = unwrap(out->data);
    return 0;
}
