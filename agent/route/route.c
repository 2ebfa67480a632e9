#include "route/route.h"

const struct route_alias *route_find(const struct route_table *table, struct slice model)
{
    for (size_t i = 0; i < table->alias_count; i++)
        if (slice_eq(table->aliases[i].name, model))
            return &table->aliases[i];
    return NULL;
}

static struct slice shown_model(struct slice model)
{
    if (model.n <= 64)
        return model;
    size_t n = 64;
    while (n > 0 && ((unsigned char)model.p[n] & 0xc0) == 0x80) /* not in the middle of a character */
        n--;
    return slice_make(model.p, n);
}

static void refuse(struct refusal *r, int status, const char *code, const char *param, const char *reason, struct slice message)
{
    *r = (struct refusal){ .status = status, .type = "invalid_request_error", .code = code, .param = param, .retry_after_s = -1,
                           .do_not_retry = true, .reason = reason,
                           .message = message.p ? message : SLICE_LIT("The model cannot be used.") };
}

/* What a request needs that a target lacks, worst first; NULL when it can serve it. */
static const char *lacking(const struct route_target *t, const struct route_query *q)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = { { ASK_STREAM, "streaming" },        { ASK_TOOLS, "tools" },       { ASK_IMAGES, "images" },
                  { ASK_AUDIO, "audio" },             { ASK_FILES, "files" },       { ASK_JSON_SCHEMA, "a JSON schema" },
                  { ASK_LOGPROBS, "logprobs" },       { ASK_STORED, "stored items" } };
    unsigned missing = q->features & t->lacks;
    if (t->endpoints && !(t->endpoints & (1u << q->endpoint)))
        return "this endpoint";
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (missing & words[i].bit)
            return words[i].word;
    return NULL;
}

static bool too_small(const struct route_target *t, const struct route_query *q)
{
    return t->context_window > 0 && q->input >= 0 && q->input >= t->context_window;
}

static bool usable(const struct route_target *t, const struct route_query *q)
{
    return q->usable == NULL || q->usable(q->user, &t->target);
}

/* A target could serve it, had we a key for it. */
static bool keyless(const struct route_alias *alias, const struct route_query *q)
{
    for (size_t i = 0; i < alias->target_count; i++)
        if (!lacking(&alias->targets[i], q) && !too_small(&alias->targets[i], q) && !usable(&alias->targets[i], q))
            return true;
    return false;
}

static void refuse_keyless(struct refusal *r)
{
    *r = (struct refusal){ .status = 503, .type = "server_error", .code = "provider_credentials_unavailable", .retry_after_s = 1,
                           .reason = "no_credential",
                           .message = SLICE_LIT("The gateway has no valid credential for this model's provider at the moment; try again "
                                                "shortly. Its operators find the cause in the agent's log.") };
}

static void refuse_alias(const struct route_alias *alias, const struct route_query *q, struct arena *arena, struct refusal *r)
{
    struct slice name = shown_model(q->model);
    const char *missing = NULL;
    int64_t largest = 0;
    bool size_only = false;
    for (size_t i = 0; i < alias->target_count; i++) {
        const struct route_target *t = &alias->targets[i];
        const char *word = lacking(t, q);
        missing = missing ? missing : word;
        if (!word) {
            size_only = true;
            largest = t->context_window > largest ? t->context_window : largest;
        }
    }
    if (size_only)
        refuse(r, 400, "context_length_exceeded", "messages", "context_length",
               arena_printf(arena, "The request has %lld input tokens; the largest context window behind model %.*s holds %lld. Shorten the "
                            "input.", (long long)q->input, SLICE_FMT(name), (long long)largest));
    else if (missing)
        refuse(r, 400, "unsupported_feature", NULL, "unsupported_feature",
               arena_printf(arena, "Model %.*s cannot be used with %s.", SLICE_FMT(name), missing));
    else
        refuse(r, 404, "model_not_found", "model", "unknown_model",
               arena_printf(arena, "The model %.*s has no provider.", SLICE_FMT(name)));
}

bool route_select(const struct route_table *table, const struct route_query *q, struct arena *arena, struct route_choice *out,
                  struct refusal *refusal)
{
    const struct route_alias *alias = route_find(table, q->model);
    if (!alias) {
        struct slice name = shown_model(q->model);
        refuse(refusal, 404, "model_not_found", "model", "unknown_model",
               arena_printf(arena, "The model \"%.*s\" does not exist or you may not use it.", SLICE_FMT(name)));
        return false;
    }
    const struct route_target *found[2] = { NULL, NULL };
    size_t n = 0;
    for (int drained = 0; drained < 2 && n == 0; drained++) { /* drained targets only when no other is left */
        for (size_t i = 0; i < alias->target_count && n < 2; i++) {
            const struct route_target *t = &alias->targets[i];
            if (t->drained == (drained == 1) && !lacking(t, q) && !too_small(t, q) && usable(t, q))
                found[n++] = t;
        }
    }
    if (n == 0) {
        if (keyless(alias, q))
            refuse_keyless(refusal);
        else
            refuse_alias(alias, q, arena, refusal);
        return false;
    }
    *out = (struct route_choice){ .alias = alias, .primary = found[0], .fallback = found[1] };
    return true;
}
