#include "credential/token_reply.h"

enum { SHOWN_MAX = 200 };

static const int64_t LIFETIME_MAX_S = 366 * 86400;

static bool lifetime(struct slice digits, int64_t *out)
{
    int64_t n;

    if (!json_number_int(digits, &n) || n < 0)
        return false;
    *out = n > LIFETIME_MAX_S ? LIFETIME_MAX_S : n;
    return true;
}

static bool read_lifetime(struct json_scan *s, int64_t *out)
{
    struct json_text text;
    struct slice raw;

    if (json_scan_string(s, &text))
        return lifetime(text.raw, out);
    return json_scan_kind(s) == JSON_NUMBER && json_scan_skip(s, &raw) && lifetime(raw, out);
}

/* False: there is another kind of value. */
static bool read_text(struct json_scan *s, struct arena *a, struct slice *out)
{
    struct json_text text;

    if (!json_scan_string(s, &text))
        return false;
    *out = json_text_decode(text, a);
    if (out->n > SHOWN_MAX)
        out->n = SHOWN_MAX;
    return true;
}

static bool member(struct json_scan *s, struct json_text key, struct arena *a, struct token_reply *out, const char **why)
{
    if (json_text_is(key, SLICE_LIT("access_token")) || (json_text_is(key, SLICE_LIT("token")) && out->token.raw.p == NULL)) {
        *why = "access_token is not a string";
        return json_scan_string(s, &out->token);
    }
    if (json_text_is(key, SLICE_LIT("expires_in"))) {
        *why = "expires_in is not a number of seconds";
        return read_lifetime(s, &out->expires_in_s);
    }
    if (json_text_is(key, SLICE_LIT("token_type"))) {
        *why = "token_type is not a string";
        return read_text(s, a, &out->type);
    }
    *why = "it is not a JSON object";
    if (json_text_is(key, SLICE_LIT("error")) && read_text(s, a, &out->error))
        return true;
    if (json_text_is(key, SLICE_LIT("error_description")) && read_text(s, a, &out->description))
        return true;
    return json_scan_skip(s, NULL);
}

int token_reply_parse(struct slice body, struct arena *a, struct token_reply *out, const char **why)
{
    struct json_scan s;
    struct json_text key;

    *out = (struct token_reply){ .expires_in_s = -1 };
    *why = "it is not a JSON object";
    json_scan_begin(&s, body);
    if (body.n == 0 || json_scan_kind(&s) != JSON_OBJECT || !json_scan_enter(&s))
        return -1;
    while (json_scan_key(&s, &key))
        if (!member(&s, key, a, out, why))
            return -1;
    *why = "it is not a JSON object";
    return json_scan_end(&s) ? 0 : -1;
}
