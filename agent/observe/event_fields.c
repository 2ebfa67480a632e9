#include "observe/event_fields.h"

struct list {
    struct log_field *out;
    size_t n;
};

static void text(struct list *l, const char *key, const char *v)
{
    if (v != NULL && v[0] != '\0')
        l->out[l->n++] = LOG_CSTR(key, v);
}

/* -1: not known. */
static void number(struct list *l, const char *key, int64_t v)
{
    if (v >= 0)
        l->out[l->n++] = LOG_INT(key, v);
}

static void amount(struct list *l, const char *key, int64_t v)
{
    l->out[l->n++] = LOG_INT(key, v);
}

/* 0: none. */
static void tokens(struct list *l, const char *key, int64_t v)
{
    if (v != 0)
        l->out[l->n++] = LOG_INT(key, v);
}

static void who_and_what(struct list *l, const struct event *e)
{
    static const char *const endpoints[] = { "chat", "responses", "completions", "embeddings", "messages", "passthrough" };

    text(l, "request_id", e->request_id);
    text(l, "trace_id", e->trace_id);
    text(l, "team", e->team);
    text(l, "user", e->user);
    text(l, "application", e->application);
    text(l, "cost_center", e->cost_center);
    text(l, "endpoint", endpoints[e->endpoint]);
    text(l, "alias", e->alias);
    text(l, "group", e->group);
    text(l, "provider", e->provider);
    text(l, "model", e->model);
    l->out[l->n++] = LOG_BOOL("stream", e->stream);
}

static void decision(struct list *l, const struct event *e)
{
    if (e->kind != EVENT_ALLOWED)
        number(l, "status", e->status);
    if (e->kind == EVENT_DENIED)
        text(l, "reason", e->reason);
    number(l, "input_counted", e->input_counted);
    number(l, "output_ceiling", e->output_ceiling);
    if (e->kind == EVENT_ALLOWED)
        amount(l, "hold_nano", e->hold_nano);
    if (e->kind == EVENT_ALLOWED && !e->recalled)
        l->out[l->n++] = LOG_BOOL("clamped", e->clamped);
    number(l, "budget_left_nano", e->budget_left_nano);
    number(l, "identity_us", e->identity_us);
    number(l, "tokens_us", e->tokens_us);
    number(l, "budget_us", e->budget_us);
    number(l, "commit_us", e->commit_us);
    number(l, "decision_us", e->decision_us);
}

static void settlement(struct list *l, const struct event *e)
{
    const struct token_usage *u = &e->usage;

    text(l, "outcome", e->reason);
    number(l, "status", e->status > 0 ? e->status : -1);
    text(l, "known_by", event_known_by_name(e->known_by));
    number(l, "attempts", e->attempts);
    l->out[l->n++] = LOG_BOOL("fallback", e->fallback);
    amount(l, "input", u->input);
    tokens(l, "input_cached", u->input_cached);
    tokens(l, "input_cache_write", u->input_cache_write);
    tokens(l, "input_cache_write_1h", u->input_cache_write_1h);
    tokens(l, "input_audio", u->input_audio);
    amount(l, "output", u->output);
    tokens(l, "output_reasoning", u->output_reasoning);
    tokens(l, "output_audio", u->output_audio);
    amount(l, "cost_nano", e->cost_nano);
    number(l, "ttft_us", e->ttft_us);
    number(l, "tpot_ns", e->tpot_ns);
    number(l, "total_us", e->total_us);
    text(l, "provider_request_id", e->provider_id);
}

size_t event_fields(const struct event *e, struct log_field out[EVENT_FIELDS_MAX])
{
    struct list l = { out, 0 };

    who_and_what(&l, e);
    if (e->kind == EVENT_SETTLED || e->kind == EVENT_CORRECTED)
        settlement(&l, e);
    else
        decision(&l, e);
    return l.n;
}
