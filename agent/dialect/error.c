#include "dialect/error.h"

#include "base/json_scan.h"

static const char *openai_type(int status)
{
    if (status == 401)
        return "authentication_error";
    if (status == 403)
        return "permission_error";
    if (status == 429)
        return "rate_limit_error";
    return status >= 500 ? "server_error" : "invalid_request_error";
}

/* https://docs.anthropic.com/en/api/errors */
static const char *anthropic_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 402: return "billing_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503:
    case 529: return "overloaded_error";
    case 504: return "timeout_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

static size_t put(char *out, const char *text)
{
    size_t n = strlen(text);
    memcpy(out, text, n);
    return n;
}

/* A JSON string, or null. */
static size_t put_string(char *out, const char *text)
{
    if (text == NULL)
        return put(out, "null");
    size_t n = put(out, "\"");
    n += json_escape_ascii(slice_cstr(text), out + n);
    return n + put(out + n, "\"");
}

struct slice dialect_error_body(enum endpoint endpoint, const struct refusal *why, struct arena *arena)
{
    bool anthropic = endpoint == ENDPOINT_MESSAGES;
    const char *type = anthropic ? anthropic_type(why->status) : why->type != NULL ? why->type : openai_type(why->status);
    struct slice type_s = slice_cstr(type), param = slice_cstr(why->param), code = slice_cstr(why->code);
    char *p = arena_alloc(arena, 6 * (why->message.n + type_s.n + param.n + code.n) + 128);

    if (p == NULL)
        return SLICE_NONE;
    size_t n = put(p, anthropic ? "{\"type\":\"error\",\"error\":{\"type\":" : "{\"error\":{\"message\":\"");
    if (anthropic) {
        n += put_string(p + n, type);
        n += put(p + n, ",\"message\":\"");
    }
    n += json_escape_ascii(why->message, p + n);
    n += put(p + n, "\"");
    if (!anthropic) {
        n += put(p + n, ",\"type\":");
        n += put_string(p + n, type);
        n += put(p + n, ",\"param\":");
        n += put_string(p + n, why->param);
        n += put(p + n, ",\"code\":");
        n += put_string(p + n, why->code);
    }
    n += put(p + n, "}}");
    p[n] = '\0';
    return slice_make(p, n);
}
