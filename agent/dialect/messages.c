/* Anthropic messages. Content blocks hold blocks (a tool result its images, a document its text): LEVELS deep, as the API allows; what is
 * nested deeper is counted as JSON and as unknown. */
#include "dialect/dialect.h"

#include "dialect/content.h"
#include "dialect/media.h"

#define LEVELS 3

static void blocks(struct walk *w, enum ask_place place, int level);

static bool is(struct json_text t, const char *name)
{
    return json_text_is(t, slice_cstr(name));
}

struct source {
    struct json_text type, data, file_id;
    bool given, content;
};

static void source(struct walk *w, struct source *out, enum ask_place place, int level)
{
    enum { TYPE, DATA, FILE_ID, CONTENT, READ };
    static const struct slice names[] = { FIELD("type"), FIELD("data"), FIELD("file_id"), FIELD("content"), FIELD("url"),
                                          FIELD("media_type") };
    struct fields f = FIELDS(names, READ, true);

    if (walk_is(w, JSON_STRING)) { /* where a search result comes from */
        walk_text(w, place);
        return;
    }
    if (walk_null(w) || !walk_object(w, "an object"))
        return;
    out->given = true;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case TYPE: walk_string(w, &out->type); break;
        case DATA: walk_optional_text(w, &out->data); break;
        case FILE_ID: walk_optional_text(w, &out->file_id); break;
        default:
            out->content = true;
            blocks(w, place, level + 1);
        }
    }
}

static void source_part(struct walk *w, struct json_text type, const struct source *s, enum ask_place place)
{
    struct ask_part *p;

    if (s->file_id.raw.n > 0)
        w->ask->features |= ASK_STORED;
    if (is(type, "image")) {
        w->ask->features |= ASK_IMAGES;
        struct media m = media_from_base64(s->data);
        if ((p = walk_part(w, PART_IMAGE, place)) != NULL) {
            p->width = m.width;
            p->height = m.height;
            p->bytes = s->data.raw.n > 0 ? m.bytes : 0;
        }
        return;
    }
    w->ask->features |= ASK_FILES;
    if (is(s->type, "text")) {
        walk_text_read(w, s->data, place);
    } else if (s->data.raw.n > 0) {
        if ((p = walk_part(w, PART_FILE, place)) != NULL)
            p->bytes = media_from_base64(s->data).bytes;
    } else if (!s->content) {
        (void)walk_part(w, PART_UNKNOWN, place);
    }
}

static bool block_known(struct json_text type)
{
    static const char *const types[] = { "text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking",
                                         "search_result", "server_tool_use", "web_search_tool_result", "tool_reference" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (is(type, types[i]))
            return true;
    return false;
}

static void block(struct walk *w, enum ask_place place, int level)
{
    enum { TYPE, TEXT, SOURCE, CONTENT, NAME, INPUT, THINKING, TITLE, CONTEXT, DATA, ENCRYPTED, READ };
    static const struct slice names[] = { FIELD("type"),  FIELD("text"),     FIELD("source"), FIELD("content"), FIELD("name"),
                                          FIELD("input"), FIELD("thinking"), FIELD("title"),  FIELD("context"), FIELD("data"),
                                          FIELD("encrypted_content"),
                                          FIELD("id"), FIELD("tool_use_id"), FIELD("is_error"), FIELD("cache_control"),
                                          FIELD("citations"), FIELD("signature"), FIELD("tool_name") };
    struct fields f = FIELDS(names, READ, true);
    struct json_text type = { 0 }, text = { 0 };
    struct source src = { 0 };
    size_t first = w->count;

    if (level >= LEVELS) {
        walk_json(w, place);
        (void)walk_part(w, PART_UNKNOWN, place);
        return;
    }
    if (!walk_object(w, "a content block"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case TYPE: walk_string(w, &type); break;
        case SOURCE: source(w, &src, place, level); break;
        case CONTENT: blocks(w, place, level + 1); break;
        case INPUT: walk_json(w, IN_TOOL_CALL); break;
        case NAME: walk_text(w, IN_TOOL_CALL); break;
        case DATA:
        case ENCRYPTED: content_sealed(w, place); break;
        default:
            text = (struct json_text){ 0 };
            walk_optional_text(w, &text);
            walk_text_read(w, text, place);
        }
    }
    walk_require(w, &f, TYPE);
    if (src.given)
        source_part(w, type, &src, place);
    else if (is(type, "image"))
        source_part(w, type, &src, place);
    /* Nested errors and results of the provider's own tools have further types; their members were counted above. */
    if (level == 0 && !block_known(type))
        (void)walk_part(w, PART_UNKNOWN, place);
    if (is(type, "tool_result"))
        content_move(w, first, IN_TOOL_RESULT);
}

static void blocks(struct walk *w, enum ask_place place, int level)
{
    switch (json_scan_kind(&w->s)) {
    case JSON_STRING:
        walk_text(w, place);
        break;
    case JSON_NULL:
        walk_null(w);
        break;
    case JSON_OBJECT: /* the error of a provider's tool */
        if (level > 0) {
            walk_json(w, place);
            break;
        }
        walk_wrong_type(w, "a string or an array of content blocks");
        break;
    case JSON_ARRAY:
        if (walk_array(w, "an array"))
            while (walk_element(w))
                block(w, place, level);
        break;
    default:
        walk_wrong_type(w, "a string or an array of content blocks");
    }
}

static void message(struct walk *w)
{
    enum { ROLE, CONTENT, READ };
    static const struct slice names[] = { FIELD("role"), FIELD("content") };
    struct fields f = FIELDS(names, READ, true);

    if (!walk_object(w, "an object with role and content"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        if (k == ROLE)
            walk_text(w, IN_ROLE);
        else
            blocks(w, IN_CONTENT, 0);
    }
    walk_require(w, &f, ROLE);
    walk_require(w, &f, CONTENT);
}

/* Tools that run at the client have a fixed description or the caller's; others work at the provider and add what they find. */
static bool runs_at_client(struct json_text type)
{
    static const struct slice prefixes[] = { FIELD("bash_"), FIELD("text_editor_"), FIELD("computer_"), FIELD("memory_") };
    if (type.raw.n == 0 || is(type, "custom"))
        return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (!type.escaped && slice_starts(type.raw, prefixes[i]))
            return true;
    return false;
}

static void thinking(struct walk *w)
{
    static const struct slice names[] = { FIELD("budget_tokens"), FIELD("type"), FIELD("display") };
    struct fields f = FIELDS(names, 1, false);

    if (walk_null(w) || !walk_object(w, "an object"))
        return;
    while (walk_field(w, &f) >= 0)
        if (!walk_null(w))
            (void)walk_int(w, 1, DIALECT_MAX_OUTPUT, &w->ask->thinking_budget);
}

static void unseen(struct walk *w, unsigned features)
{
    if (walk_null(w))
        return;
    w->ask->features |= features;
    walk_unknown(w, IN_OTHER);
}

static void schema(struct walk *w)
{
    if (walk_null(w))
        return;
    walk_json(w, IN_SCHEMA);
    w->ask->features |= ASK_JSON_SCHEMA;
}

void dialect_messages(struct walk *w)
{
    enum { MODEL, MESSAGES, SYSTEM, TOOLS, TOOL_CHOICE, MAX_TOKENS, STREAM, THINKING, SERVICE_TIER, MCP, CONTAINER, OUTPUT_FORMAT,
           OUTPUT_CONFIG, INFERENCE_GEO, SPEED, READ };
    static const struct slice names[] = {
        FIELD("model"), FIELD("messages"), FIELD("system"), FIELD("tools"), FIELD("tool_choice"), FIELD("max_tokens"), FIELD("stream"),
        FIELD("thinking"), FIELD("service_tier"), FIELD("mcp_servers"), FIELD("container"), FIELD("output_format"),
        FIELD("output_config"), FIELD("inference_geo"), FIELD("speed"),
        FIELD("metadata"), FIELD("stop_sequences"), FIELD("temperature"), FIELD("top_k"), FIELD("top_p"),
        FIELD("context_management"), FIELD("cache_control"), FIELD("betas"),
    };
    struct fields f = FIELDS(names, READ, true);

    if (!walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case MODEL: walk_model(w); break;
        case MESSAGES: walk_messages(w, message); break;
        case SYSTEM: blocks(w, IN_SYSTEM, 0); break;
        case TOOLS: walk_tools(w, runs_at_client); break;
        case TOOL_CHOICE: walk_skip(w, NULL); break;
        case MAX_TOKENS: walk_max_output(w, 1); break;
        case STREAM: walk_stream(w); break;
        case THINKING: thinking(w); break;
        case SERVICE_TIER: walk_optional(w, &w->ask->service_tier); break;
        case INFERENCE_GEO: walk_optional(w, &w->ask->inference_geo); break;
        case SPEED: walk_optional(w, &w->ask->speed); break;
        case MCP: unseen(w, 0); break;
        case CONTAINER: unseen(w, ASK_STORED); break;
        default: schema(w);
        }
    }
    walk_require(w, &f, MODEL);
    walk_require(w, &f, MESSAGES);
    if (w->ask->count_only)
        return;
    if (w->s.error == NULL && w->ask->max_output < 0)
        f.seen &= ~((uint64_t)1 << MAX_TOKENS); /* null is no ceiling */
    walk_require(w, &f, MAX_TOKENS);
}
