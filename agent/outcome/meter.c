#include "outcome/meter.h"

#include "relay/relay_stream.h"
#include "settle/delivered.h"
#include "settle/usage.h"

enum { ARENA_KEEP = 256 * 1024, TEXT_KEEP = 256 * 1024, CALL_TOKENS = 8 };

void meter_free(struct meter *m)
{
    relay_buffer_free(&m->text);
}

int64_t meter_tokens(const struct meter *m)
{
    return (int64_t)(((__int128)(m->before + m->counted) * m->factor_ppm + 999999) / 1000000);
}

static void recount(struct meter *m)
{
    int64_t n = token_count_text(m->counter, m->tokenizer, relay_buffer_content(&m->text), NULL);

    if (n >= 0)
        m->counted = n;
    m->unseen = 0;
    if (m->text.len > TEXT_KEEP) {
        m->before += m->counted;
        m->counted = 0;
        relay_buffer_drop(&m->text, m->text.len);
    }
}

static bool passed(struct meter *m, const struct delivered *got)
{
    struct usage_report told;
    const char *why;

    if (got->usage.n > 0 && usage_parse(got->usage, &told, &why) == 0 && told.has_output && token_usage_output(&told.tokens) > m->stop)
        return true;
    if (m->tokenizer == NULL)
        return false;
    m->before += got->tool_calls * (int64_t)CALL_TOKENS;
    for (size_t i = 0; i < got->text_count; i++) {
        relay_buffer_add(&m->text, got->texts[i].text);
        m->unseen += got->texts[i].text.n;
    }
    if (meter_tokens(m) + (int64_t)m->unseen * m->factor_ppm / 1000000 <= m->stop)
        return false;
    recount(m);
    return meter_tokens(m) > m->stop;
}

static bool among(struct slice word, const char *const *words)
{
    for (; *words != NULL; words++)
        if (slice_eq_cstr(word, *words))
            return true;
    return false;
}

/* Events that every stream begins with, before its model has said anything. An unknown kind of event counts as something said. */
static bool is_opening(const struct delivered *got)
{
    static const char *const types[] = { "message_start", "ping", "content_block_start", "response.created", "response.queued",
                                         "response.in_progress", NULL };

    if (got->text_count > 0 || got->tool_calls > 0 || got->finished || got->odd || got->error)
        return false;
    return got->chat || among(got->type, types);
}

static bool contains(struct slice s, const char *text)
{
    return s.n > 0 && memmem(s.p, s.n, text, strlen(text)) != NULL;
}

/* An outage or overload, as the values of an error's type or code tell it. Refusals of the request itself are the client's. */
static bool worth_retrying(struct slice event)
{
    static const char *const words[] = { "\"overloaded_error\"", "\"server_error\"", "\"api_error\"", "\"rate_limit_error\"",
                                         "\"rate_limit_exceeded\"", "\"internal_error\"", "\"internal_server_error\"",
                                         "\"service_unavailable\"", "\"timeout_error\"", NULL };

    if (contains(event, "\"content_filter\""))
        return false; /* never routed around, whatever else it is called */
    for (size_t i = 0; words[i] != NULL; i++)
        if (contains(event, words[i]))
            return true;
    return false;
}

/* The words of OpenAI's response.failed and error events. */
static bool too_long(struct slice event)
{
    return contains(event, "\"context_length_exceeded\"");
}

unsigned meter_judge(void *user, struct slice event)
{
    struct meter *m = user;
    struct delivered got;
    unsigned is = 0;

    arena_reset(m->arena, ARENA_KEEP);
    if (delivered_read(event, true, m->arena, &got) != 0)
        return 0; /* out of memory: passed on unread */
    if (!contains(event, "data:") || is_opening(&got))
        is |= RELAY_OPENING;
    if (got.finished)
        is |= RELAY_FINISHED;
    m->too_long = got.error && m->larger_next && too_long(event);
    if (got.error)
        is |= RELAY_ERROR | (worth_retrying(event) || m->too_long ? RELAY_RETRY : 0);
    if (m->stop > 0 && passed(m, &got))
        is |= RELAY_STOP;
    return is;
}
