#include "dialect/dialect.h"

#include "base/fiber.h"

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

static void walk_begin(struct walk *w, enum endpoint endpoint, bool count_only, struct slice body, struct arena *arena, struct ask *out,
                       struct refusal *why)
{
    *w = (struct walk){ .arena = arena, .ask = out, .why = why, .message = UINT32_MAX };
    *why = (struct refusal){ .retry_after_s = -1 };
    *out = (struct ask){ .endpoint = endpoint, .count_only = count_only, .max_output = -1, .choices = 1, .max_tool_calls = -1, .thinking_budget = -1 };
    json_scan_begin(&w->s, body);
}

static int walk_all(struct walk *w)
{
    struct ask *out = w->ask;
    const char *start = w->s.p;

    endpoints[out->endpoint].walk(w);
    if (!w->refused && w->s.error == NULL)
        out->at_object = walk_span(w, slice_make(start, (size_t)(w->s.p - start)));
    if (!w->refused && !json_scan_end(&w->s))
        refuse_syntax(w);
    out->part_chunks = (const struct ask_part *const *)w->chunks;
    out->part_count = w->count;
    out->had_invalid_text = w->s.lone_surrogate;
    return w->refused ? -1 : 0;
}

static int parse(enum endpoint endpoint, bool count_only, struct slice body, struct arena *arena, struct ask *out, struct refusal *why)
{
    struct walk w;

    walk_begin(&w, endpoint, count_only, body, arena, out, why);
    return walk_all(&w);
}

int dialect_parse(enum endpoint endpoint, struct slice body, struct arena *arena, struct ask *out, struct refusal *why)
{
    return parse(endpoint, false, body, arena, out, why);
}

int dialect_parse_count(struct slice body, struct arena *arena, struct ask *out, struct refusal *why)
{
    return parse(ENDPOINT_MESSAGES, true, body, arena, out, why);
}

/* ---- in slices ------------------------------------------------------------------------------------------------------ */

struct dialect_job {
    struct walk walk;
    struct fiber *fiber;
    size_t work, done; /* asked for, and done, in this step */
    int result;
};

static void on_pause(void *user)
{
    struct dialect_job *j = user;

    fiber_pause(j->fiber);
    j->walk.s.left = (int64_t)j->work;
}

static void run(struct fiber *self, void *arg)
{
    struct dialect_job *j = arg;

    (void)self;
    j->walk.s.left = (int64_t)j->work;
    j->result = walk_all(&j->walk) == 0 ? 1 : -1;
}

struct dialect_job *dialect_job_new(struct fiber_pool *pool, enum endpoint endpoint, bool count_only, struct slice body, struct arena *arena,
                                    struct ask *out, struct refusal *why)
{
    struct dialect_job *j = arena_zalloc(arena, sizeof *j);

    if (j == NULL || (j->fiber = fiber_new(pool, run, j)) == NULL)
        return NULL;
    walk_begin(&j->walk, endpoint, count_only, body, arena, out, why);
    j->walk.s.pause = on_pause;
    j->walk.s.pause_user = j;
    return j;
}

int dialect_job_step(struct dialect_job *j, size_t work)
{
    j->work = work;
    bool ended = fiber_resume(j->fiber);
    j->done = (size_t)((int64_t)work - j->walk.s.left);
    return ended ? j->result : 0;
}

size_t dialect_job_work(const struct dialect_job *j)
{
    return j->done;
}

void dialect_job_free(struct dialect_job *j)
{
    if (j != NULL)
        fiber_free(j->fiber);
}
