#include "dialect/dialect.h"

#include "dialect/walk.h"

static const struct {
    const char *name;
    struct slice path;
    void (*walk)(struct walk *w);
} endpoints[] = {
    [ENDPOINT_CHAT] = { "chat", FIELD("/v1/chat/completions"), dialect_chat },
    [ENDPOINT_RESPONSES] = { "responses", FIELD("/v1/responses"), dialect_responses },
    [ENDPOINT_COMPLETIONS] = { "completions", FIELD("/v1/completions"), dialect_completions },
    [ENDPOINT_EMBEDDINGS] = { "embeddings", FIELD("/v1/embeddings"), dialect_embeddings },
    [ENDPOINT_MESSAGES] = { "messages", FIELD("/v1/messages"), dialect_messages },
    [ENDPOINT_PASSTHROUGH] = { "passthrough", FIELD("pass-through paths"), NULL },
};

bool dialect_counts_only(struct slice path)
{
    return slice_eq_cstr(path, "/v1/messages/count_tokens");
}

enum dialect_match dialect_endpoint(struct slice method, struct slice path, enum endpoint *out)
{
    if (dialect_counts_only(path))
        path = endpoints[ENDPOINT_MESSAGES].path;
    for (size_t i = 0; i < ENDPOINT_PASSTHROUGH; i++) {
        if (!slice_eq(path, endpoints[i].path))
            continue;
        *out = (enum endpoint)i;
        return slice_eq_cstr(method, "POST") ? DIALECT_MATCH : DIALECT_NO_METHOD;
    }
    return DIALECT_NO_PATH;
}

const char *dialect_path(enum endpoint e)
{
    return endpoints[e].path.p;
}

const char *dialect_endpoint_name(enum endpoint e)
{
    return endpoints[e].name;
}

bool dialect_endpoint_from_name(struct slice name, enum endpoint *out)
{
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
        if (slice_eq_cstr(name, endpoints[i].name)) {
            *out = (enum endpoint)i;
            return true;
        }
    return false;
}

/* The scanner stopped: the body is not JSON, or not all of it. */
static void refuse_syntax(struct walk *w)
{
    struct slice m;
    const struct json_scan *s = &w->s;

    if (s->p == s->end && s->begin == s->end)
        m = SLICE_LIT("The request body is empty. Send a JSON object with Content-Type: application/json.");
    else if (s->truncated)
        m = arena_printf(w->arena, "The request body is not whole JSON: it %s (after %zu bytes).", s->error, s->error_at);
    else
        m = arena_printf(w->arena, "The request body is not valid JSON: it %s (at byte %zu).", s->error, s->error_at);
    if (m.p == NULL) {
        w->s.error = NULL;
        walk_no_memory(w);
        return;
    }
    *w->why = (struct refusal){ .status = 400, .type = "invalid_request_error", .code = "invalid_json", .message = m,
                                .retry_after_s = -1, .reason = s->truncated ? "body_truncated" : "body_not_json" };
    w->refused = true;
}

static int parse(enum endpoint endpoint, bool count_only, struct slice body, struct arena *arena, struct ask *out, struct refusal *why)
{
    struct walk w = { .arena = arena, .ask = out, .why = why, .message = UINT32_MAX };

    *why = (struct refusal){ .retry_after_s = -1 };
    *out = (struct ask){ .endpoint = endpoint, .count_only = count_only, .max_output = -1, .choices = 1, .thinking_budget = -1 };
    json_scan_begin(&w.s, body);
    const char *start = w.s.p;
    endpoints[endpoint].walk(&w);
    if (!w.refused && w.s.error == NULL)
        out->at_object = walk_span(&w, slice_make(start, (size_t)(w.s.p - start)));
    if (!w.refused && !json_scan_end(&w.s))
        refuse_syntax(&w);
    out->parts = w.parts;
    out->part_count = w.count;
    out->had_invalid_text = w.s.lone_surrogate;
    return w.refused ? -1 : 0;
}

int dialect_parse(enum endpoint endpoint, struct slice body, struct arena *arena, struct ask *out, struct refusal *why)
{
    return parse(endpoint, false, body, arena, out, why);
}

int dialect_parse_count(struct slice body, struct arena *arena, struct ask *out, struct refusal *why)
{
    return parse(ENDPOINT_MESSAGES, true, body, arena, out, why);
}
