#include "relay/relay_stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#define STOPPED_MESSAGE "The answer was stopped: it used all that was held for it. Raise max_tokens or ask for a shorter answer."

struct told {
    const char *code, *message;
};

/* What the client is told: `begun` in the stream, `before` with `status` when nothing of it was sent. */
static const struct {
    const char *word;
    struct told begun, before;
    int status;
} causes[RELAY_CAUSES] = {
    [RELAY_CAUSE_NONE] = { "", { "", "" }, { "", "" }, 0 },
    [RELAY_CAUSE_CUT] = { "cut", { "stream_interrupted", "The provider broke off its answer; what came until here is incomplete." },
                          { "provider_error", "The provider gave no usable answer." }, 502 },
    [RELAY_CAUSE_STALLED] = { "stalled", { "stream_stalled", "The provider stopped sending; what came until here is incomplete." },
                              { "provider_timeout", "The provider did not answer in time." }, 504 },
    [RELAY_CAUSE_LATE] = { "first_event_late", { "provider_timeout", "The provider did not begin its answer in time." },
                           { "provider_timeout", "The provider did not begin its answer in time." }, 504 },
    [RELAY_CAUSE_REFUSED] = { "error_event", { "provider_error", "The provider answered with an error." },
                              { "provider_error", "The provider answered with an error." }, 503 },
    [RELAY_CAUSE_STOPPED] = { "stopped", { "budget_exhausted", STOPPED_MESSAGE }, { "budget_exhausted", STOPPED_MESSAGE }, 503 },
    [RELAY_CAUSE_SHUTDOWN] = { "shutdown", { "gateway_restarting", "The gateway is restarting; what came until here is incomplete." },
                               { "gateway_restarting", "The gateway is restarting. Try again shortly." }, 503 },
    [RELAY_CAUSE_TOO_LONG] = { "context_length", { "provider_error", "The provider answered with an error." },
                              { "provider_error", "The provider answered with an error." }, 503 },
};

const char *relay_cause_word(enum relay_cause cause)
{
    return causes[cause].word;
}

void relay_stream_init(struct relay_stream *s, const struct relay_rules *rules)
{
    *s = (struct relay_stream){ .rules = *rules };
}

void relay_stream_free(struct relay_stream *s)
{
    relay_buffer_free(&s->out);
    relay_buffer_free(&s->held);
    relay_buffer_free(&s->event);
}

static void put(struct relay_stream *s, struct slice bytes)
{
    relay_buffer_add(&s->out, bytes);
    s->failed = s->failed || s->out.failed;
}

static void chunk(struct relay_stream *s, struct slice data)
{
    char size[24];

    if (data.n == 0)
        return;
    put(s, slice_make(size, (size_t)snprintf(size, sizeof size, "%zx\r\n", data.n)));
    put(s, data);
    put(s, SLICE_LIT("\r\n"));
}

static void end(struct relay_stream *s)
{
    put(s, SLICE_LIT("0\r\n\r\n"));
    s->state = RELAY_ENDED;
}

/* Head and opening events go out. */
static void release(struct relay_stream *s)
{
    struct slice all = relay_buffer_content(&s->held);

    put(s, slice_make(all.p, s->head_size));
    chunk(s, slice_make(all.p + s->head_size, all.n - s->head_size));
    relay_buffer_free(&s->held);
    s->state = RELAY_OPEN;
}

static void error_event(struct relay_stream *s)
{
    const char *code = causes[s->cause].begun.code, *message = causes[s->cause].begun.message;
    char text[768];
    int n = 0;

    switch (s->rules.shape) {
    case RELAY_CHAT:
        n = snprintf(text, sizeof text, "data: {\"error\":{\"message\":\"%s\",\"type\":\"server_error\",\"param\":null,\"code\":\"%s\"}}\n\n",
                     message, code);
        break;
    case RELAY_MESSAGES:
        n = snprintf(text, sizeof text,
                     "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"%s\",\"code\":\"%s\"}}\n\n",
                     message, code);
        break;
    case RELAY_RESPONSES:
        /* Both the documented event, and the member that makes clients raise. */
        n = snprintf(text, sizeof text,
                     "event: error\ndata: {\"type\":\"error\",\"sequence_number\":%" PRIu64 ",\"code\":\"%s\",\"message\":\"%s\","
                     "\"param\":null,\"error\":{\"message\":\"%s\",\"type\":\"server_error\",\"param\":null,\"code\":\"%s\"}}\n\n",
                     s->events, code, message, message, code);
        break;
    }
    chunk(s, slice_make(text, (size_t)n));
}

/* In a shape that OpenAI and Anthropic clients both read. The first tier tries the fallback on each of these statuses. */
static void error_response(struct relay_stream *s)
{
    char body[512], head[512];
    int status = causes[s->cause].status;
    const char *reason = status == 504 ? "Gateway Timeout" : status == 502 ? "Bad Gateway" : "Service Unavailable";
    int n = snprintf(body, sizeof body,
                     "{\"type\":\"error\",\"error\":{\"message\":\"%s\",\"type\":\"server_error\",\"param\":null,\"code\":\"%s\"}}",
                     causes[s->cause].before.message, causes[s->cause].before.code);
    int h = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n"
                     "x-tg-group: %.*s\r\nx-tg-attempt: %d\r\n\r\n",
                     status, reason, n, s->rules.group.n > 64 ? 64 : (int)s->rules.group.n,
                     s->rules.group.n > 0 ? s->rules.group.p : "", s->rules.attempt);
    put(s, slice_make(head, (size_t)h));
    put(s, slice_make(body, (size_t)n));
    s->state = RELAY_ENDED;
}

void relay_stream_fail(struct relay_stream *s, enum relay_cause cause)
{
    if (s->state == RELAY_ENDED || s->state == RELAY_PLAIN)
        return;
    s->cause = cause;
    if (s->state != RELAY_OPEN) {
        error_response(s);
        return;
    }
    if (s->oversize) { /* in the middle of an event: it is closed, so that ours stands by itself */
        chunk(s, SLICE_LIT("\n\n"));
        s->oversize = false;
    }
    error_event(s);
    end(s);
}

static bool has_data(struct slice event)
{
    for (size_t i = 0; i + 5 <= event.n; i++) {
        if (memcmp(event.p + i, "data:", 5) == 0)
            return true;
        const char *nl = memchr(event.p + i, '\n', event.n - i);
        if (nl == NULL)
            return false;
        i = (size_t)(nl - event.p);
    }
    return false;
}

/* One whole event, with its blank line. */
static void event_whole(struct relay_stream *s, struct slice event)
{
    unsigned is = s->rules.judge(s->rules.user, event);

    s->finished = s->finished || (is & RELAY_FINISHED);
    s->error = s->error || (is & RELAY_ERROR);
    if (has_data(event))
        s->events++;
    if (s->state == RELAY_HELD) {
        if ((is & RELAY_ERROR) && (is & RELAY_RETRY) && s->rules.may_retry) {
            relay_stream_fail(s, RELAY_CAUSE_REFUSED);
            return;
        }
        if ((is & RELAY_OPENING) && s->held.len + event.n < RELAY_EVENT_MAX) {
            relay_buffer_add(&s->held, event);
            s->failed = s->failed || s->held.failed;
            return;
        }
        release(s);
    }
    chunk(s, event);
    if ((is & RELAY_STOP) && !s->finished)
        relay_stream_fail(s, RELAY_CAUSE_STOPPED);
}

/* Where the event that begins at data.p (or in s->event) ends: its length in `data` with the blank line; 0: not in here. */
static size_t event_end(struct relay_stream *s, struct slice data)
{
    for (size_t i = 0; i < data.n; i++) {
        char c = data.p[i];
        if (c == '\n' ? s->line == 0 : c == '\r' && s->carriage) {
            s->line = 0;
            s->carriage = false;
            return i + 1;
        }
        s->carriage = c == '\r';
        if (c == '\n')
            s->line = 0;
        else if (c != '\r')
            s->line++;
    }
    return 0;
}

static size_t events_take(struct relay_stream *s, struct slice data)
{
    size_t count = 0;

    while (data.n > 0 && s->state != RELAY_ENDED && !s->failed) {
        size_t n = event_end(s, data);
        struct slice part = slice_make(data.p, n > 0 ? n : data.n);
        data = slice_make(data.p + part.n, data.n - part.n);
        if (s->oversize) {
            chunk(s, part);
            s->oversize = n == 0;
            count += n > 0;
        } else if (n > 0 && s->event.len == 0) {
            event_whole(s, part);
            count++;
        } else {
            relay_buffer_add(&s->event, part);
            s->failed = s->failed || s->event.failed;
            struct slice all = relay_buffer_content(&s->event);
            if (n > 0 || all.n > RELAY_EVENT_MAX) {
                s->oversize = n == 0;
                event_whole(s, all);
                relay_buffer_drop(&s->event, all.n);
                s->oversize = s->oversize && s->state == RELAY_OPEN;
                count++;
            }
        }
    }
    return count;
}

/* Whether `text` begins with `want`, white space in it aside: 1, 0; -1: it ends before that is known. */
static int begins_json(struct slice text, const char *want)
{
    for (size_t i = 0; i < text.n; i++) {
        if (memchr(" \t\r\n", text.p[i], 4) != NULL)
            continue;
        if (text.p[i] != *want)
            return 0;
        if (*++want == '\0')
            return 1;
    }
    return -1;
}

/* Whether the body of a JSON answer is an error object: 1, 0; -1: too little of it is here. */
static int is_error_object(const struct relay_response *head, struct slice body)
{
    struct relay_chunks chunks = { .state = RELAY_CHUNK_SIZE };
    char text[64];
    size_t n = 0;

    while (n < sizeof text && body.n > 0) {
        struct slice data = head->chunked ? relay_chunks_next(&chunks, &body) : body;
        size_t more = data.n < sizeof text - n ? data.n : sizeof text - n;
        if (more > 0)
            memcpy(text + n, data.p, more);
        n += more;
        if (!head->chunked || data.n == 0)
            break;
    }
    static const char *const openings[] = { "{\"error\":{", "{\"error\":\"", "{\"type\":\"error\"", "{\"object\":\"error\"" };
    bool open = false;
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        int begins = begins_json(slice_make(text, n), openings[i]);
        if (begins > 0)
            return 1;
        open = open || begins < 0;
    }
    bool all = n == sizeof text || chunks.state >= RELAY_CHUNK_DONE || (head->length >= 0 && n >= (size_t)head->length);
    return open && !all ? -1 : 0;
}

/* Whether what is here of an error object names a type or code of the request's own making; route/haproxy_group.c and tollgate.lua know them
 * too. */
static bool blames_request(struct slice body)
{
    static const char *const words[] = { "\"content_filter\"", "\"content_policy_violation\"", "\"context_length_exceeded\"",
                                         "\"invalid_prompt\"", "\"invalid_request_error\"" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (body.n > 0 && memmem(body.p, body.n, words[i], strlen(words[i])) != NULL)
            return true;
    return false;
}

/* The head of a stream that does not come in chunks, as that of one that does: ours go out in chunks. */
static void head_chunked(struct relay_stream *s, struct slice head)
{
    struct relay_buffer out = { .failed = false };

    while (head.n > 0) {
        const char *nl = memchr(head.p, '\n', head.n);
        struct slice line = slice_make(head.p, nl != NULL ? (size_t)(nl - head.p) + 1 : head.n);
        if (line.n <= 2)
            relay_buffer_add(&out, SLICE_LIT("transfer-encoding: chunked\r\n"));
        if (line.n < 15 || strncasecmp(line.p, "content-length:", 15) != 0)
            relay_buffer_add(&out, line);
        head = slice_make(head.p + line.n, head.n - line.n);
    }
    s->failed = s->failed || out.failed;
    relay_buffer_free(&s->held);
    s->held = out;
}

static void stream_begin(struct relay_stream *s, const struct relay_response *head)
{
    s->unchunked = !head->chunked;
    s->left = head->length;
    s->held.len = head->size;
    if (s->unchunked)
        head_chunked(s, relay_buffer_content(&s->held));
    s->head_size = relay_buffer_content(&s->held).n;
    s->state = RELAY_HELD;
}

/* Until the head is whole. The rest of what was read behind it is left in *bytes. */
static void head_take(struct relay_stream *s, struct slice *bytes)
{
    struct relay_response head;
    size_t before = s->held.len;

    relay_buffer_add(&s->held, *bytes);
    s->failed = s->failed || s->held.failed;
    struct slice all = relay_buffer_content(&s->held);
    int rc = relay_response_parse(all, &head);
    if (rc == 0) {
        *bytes = SLICE_NONE;
        return;
    }
    if (rc < 0) {
        *bytes = SLICE_NONE;
        relay_stream_fail(s, RELAY_CAUSE_CUT);
        return;
    }
    size_t used = head.size > before ? head.size - before : 0;
    *bytes = slice_make(bytes->p + used, bytes->n - used);
    if (head.status >= 100 && head.status < 200 && head.status != 101) { /* an interim response: passed on, the real one follows */
        put(s, slice_make(all.p, head.size));
        s->held.len = 0;
        s->held.off = 0;
        return;
    }
    if (head.status == 200 && head.event_stream && !head.coded) {
        stream_begin(s, &head);
        return;
    }
    if (head.status == 200 && head.event_stream && s->rules.may_retry) { /* compressed, though nobody asked for it: nothing in it can be watched */
        relay_stream_fail(s, RELAY_CAUSE_REFUSED);
        return;
    }
    if (head.status == 200 && head.json && !head.coded) { /* a client that reads events would see none, and no error */
        int error = is_error_object(&head, slice_make(all.p + head.size, all.n - head.size));
        if (error < 0) {
            *bytes = SLICE_NONE;
            return;
        }
        struct slice body = slice_make(all.p + head.size, all.n - head.size);
        if (error > 0 && !blames_request(body)) {
            relay_stream_fail(s, RELAY_CAUSE_REFUSED);
            return;
        }
        if (error > 0) { /* the provider's words, with a status that a reader of events understands */
            const char *rest = memchr(all.p, '\n', all.n);
            put(s, SLICE_LIT("HTTP/1.1 400 Bad Request\r\n"));
            put(s, slice_make(rest + 1, all.n - (size_t)(rest + 1 - all.p)));
            relay_buffer_free(&s->held);
            s->state = RELAY_PLAIN;
            *bytes = SLICE_NONE;
            return;
        }
        head.size = all.n; /* what was looked at goes out with the head */
        *bytes = SLICE_NONE;
    }
    put(s, slice_make(all.p, head.size));
    relay_buffer_free(&s->held);
    s->state = RELAY_PLAIN;
}

/* The provider has said that this is all. */
static void body_end(struct relay_stream *s)
{
    struct slice rest = relay_buffer_content(&s->event);

    if (rest.n > 0 && s->state != RELAY_ENDED) { /* the last event may lack its blank line */
        event_whole(s, rest);
        relay_buffer_drop(&s->event, rest.n);
    }
    if (s->state == RELAY_ENDED)
        return;
    if (!s->finished && !s->error) {
        relay_stream_fail(s, RELAY_CAUSE_CUT);
        return;
    }
    if (s->state == RELAY_HELD)
        release(s);
    end(s);
}

/* A body of a length that was named, or one that ends with the connection. */
static size_t unchunked_take(struct relay_stream *s, struct slice bytes)
{
    if (s->left >= 0 && bytes.n > (uint64_t)s->left)
        bytes.n = (size_t)s->left;
    size_t count = events_take(s, bytes);
    if (s->left < 0)
        return count;
    s->left -= (int64_t)bytes.n;
    if (s->left == 0)
        body_end(s);
    return count;
}

size_t relay_stream_take(struct relay_stream *s, struct slice bytes)
{
    size_t count = 0;

    while (s->state == RELAY_HEAD && bytes.n > 0 && !s->failed)
        head_take(s, &bytes);
    if (s->state == RELAY_PLAIN) {
        put(s, bytes);
        return 0;
    }
    if (s->unchunked)
        return unchunked_take(s, bytes);
    while (bytes.n > 0 && (s->state == RELAY_HELD || s->state == RELAY_OPEN) && !s->failed) {
        struct slice data = relay_chunks_next(&s->chunks, &bytes);
        count += events_take(s, data);
        if (s->chunks.state == RELAY_CHUNK_DONE)
            body_end(s);
        else if (s->chunks.state == RELAY_CHUNK_BAD)
            relay_stream_fail(s, RELAY_CAUSE_CUT);
        if (s->chunks.state >= RELAY_CHUNK_DONE)
            break;
    }
    return count;
}

void relay_stream_eof(struct relay_stream *s)
{
    if (s->state == RELAY_PLAIN)
        s->state = RELAY_ENDED;
    else if (s->unchunked && s->left < 0)
        body_end(s);
    else if (s->state == RELAY_OPEN && s->finished)
        end(s); /* only the end of the coding is missing: the answer itself was complete */
    else
        relay_stream_fail(s, RELAY_CAUSE_CUT);
}
