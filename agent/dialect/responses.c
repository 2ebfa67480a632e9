#include "dialect/content.h"

#include "dialect/dialect.h"

static void text_or_json(struct walk *w, enum ask_place place)
{
    if (walk_is(w, JSON_STRING))
        walk_text(w, place);
    else if (!walk_null(w))
        walk_json(w, place);
}

/* Items share one set of members; what `type` does not explain may be something the provider keeps or adds. */
static void item(struct walk *w)
{
    enum { TYPE, ROLE, CONTENT, NAME, ARGUMENTS, INPUT, OUTPUT, SUMMARY, ENCRYPTED, READ };
    static const struct slice names[] = { FIELD("type"),    FIELD("role"),   FIELD("content"), FIELD("name"), FIELD("arguments"),
                                          FIELD("input"),   FIELD("output"), FIELD("summary"), FIELD("encrypted_content"),
                                          FIELD("id"),      FIELD("call_id"), FIELD("status"), FIELD("phase") };
    static const struct slice types[] = { FIELD("message"), FIELD("function_call"), FIELD("function_call_output"), FIELD("reasoning"),
                                          FIELD("custom_tool_call"), FIELD("custom_tool_call_output") };
    struct fields f = FIELDS(names, READ, true);
    struct json_text type = { 0 };

    if (!walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case TYPE: walk_string(w, &type); break;
        case ROLE: walk_text(w, IN_ROLE); break;
        case CONTENT: content_walk(w, IN_CONTENT); break;
        case NAME: text_or_json(w, IN_TOOL_CALL); break;
        case ARGUMENTS:
        case INPUT: text_or_json(w, IN_TOOL_CALL); break;
        case OUTPUT:
            if (walk_is(w, JSON_OBJECT)) /* a computer's screenshot and the like */
                content_part(w, IN_TOOL_RESULT);
            else
                content_walk(w, IN_TOOL_RESULT);
            break;
        case SUMMARY: content_walk(w, IN_OTHER); break;
        default: content_sealed(w, IN_OTHER);
        }
    }
    bool typed = f.seen >> TYPE & 1;
    if (!typed)
        walk_require(w, &f, ROLE);
    else if (!walk_text_among(type, types, sizeof types / sizeof *types)) {
        (void)walk_part(w, PART_UNKNOWN, IN_OTHER);
        w->ask->features |= ASK_STORED;
    }
}

static void input(struct walk *w)
{
    w->message = 0;
    if (walk_is(w, JSON_STRING)) {
        walk_text(w, IN_CONTENT);
        w->message = 1;
    } else if (!walk_null(w) && walk_array(w, "a string or an array of items")) {
        for (; walk_element(w); w->message++)
            item(w);
    }
    w->ask->message_count += w->message;
    w->message = UINT32_MAX;
}

static void instructions(struct walk *w)
{
    if (walk_null(w))
        return;
    content_walk(w, IN_SYSTEM);
    w->ask->message_count++;
}

static bool own_tool(struct json_text type)
{
    static const struct slice own[] = { FIELD("function"), FIELD("custom") };
    return walk_text_among(type, own, 2);
}

/* {"format":{"type":"json_schema","schema":...}} */
static void text_options(struct walk *w)
{
    static const struct slice names[] = { FIELD("format"), FIELD("verbosity") };
    static const struct slice format_names[] = { FIELD("schema"), FIELD("description"), FIELD("name"), FIELD("type"), FIELD("strict") };
    struct fields f = FIELDS(names, 1, true);

    if (walk_null(w) || !walk_object(w, "an object"))
        return;
    while (walk_field(w, &f) >= 0) {
        struct fields g = FIELDS(format_names, 3, true);
        if (walk_null(w) || !walk_object(w, "an object"))
            continue;
        while (walk_field(w, &g) >= 0) {
            if (walk_null(w))
                continue;
            walk_json(w, IN_SCHEMA);
            w->ask->features |= ASK_JSON_SCHEMA;
        }
    }
}

/* Something the provider keeps and puts in front of the input. */
static void stored(struct walk *w)
{
    if (walk_null(w))
        return;
    w->ask->features |= ASK_STORED;
    walk_unknown(w, IN_OTHER);
}

enum { MODEL, INPUT, INSTRUCTIONS, TOOLS, TOOL_CHOICE, MAX_OUTPUT_TOKENS, STREAM, TEXT, PREVIOUS_RESPONSE, CONVERSATION, PROMPT, USER,
       SERVICE_TIER, TOP_LOGPROBS, MAX_TOOL_CALLS, READ };

static const struct slice names[] = {
    FIELD("model"), FIELD("input"), FIELD("instructions"), FIELD("tools"), FIELD("tool_choice"), FIELD("max_output_tokens"),
    FIELD("stream"), FIELD("text"), FIELD("previous_response_id"), FIELD("conversation"), FIELD("prompt"), FIELD("user"),
    FIELD("service_tier"), FIELD("top_logprobs"), FIELD("max_tool_calls"),
    FIELD("temperature"), FIELD("top_p"), FIELD("metadata"), FIELD("store"), FIELD("parallel_tool_calls"), FIELD("reasoning"),
    FIELD("include"), FIELD("truncation"), FIELD("background"), FIELD("safety_identifier"),
    FIELD("prompt_cache_key"), FIELD("prompt_cache_retention"), FIELD("stream_options"), FIELD("context_management"),
};

static void member(struct walk *w, int k)
{
    int64_t top = 0;
    switch (k) {
    case MODEL: walk_model(w); break;
    case INPUT: input(w); break;
    case INSTRUCTIONS: instructions(w); break;
    case TOOLS: walk_tools(w, own_tool); break;
    case TOOL_CHOICE:
        if (walk_is(w, JSON_OBJECT))
            walk_json(w, IN_TOOLS);
        else
            walk_skip(w, NULL);
        break;
    case MAX_OUTPUT_TOKENS: walk_max_output(w, 1); break;
    case STREAM: walk_stream(w); break;
    case TEXT: text_options(w); break;
    case PREVIOUS_RESPONSE:
    case CONVERSATION:
    case PROMPT: stored(w); break;
    case USER: walk_optional(w, &w->ask->user_field); break;
    case SERVICE_TIER: walk_optional(w, &w->ask->service_tier); break;
    case MAX_TOOL_CALLS:
        if (!walk_null(w))
            walk_int(w, 0, DIALECT_MAX_TOOL_CALLS, &w->ask->max_tool_calls);
        break;
    default:
        if (!walk_null(w) && walk_int(w, 0, 1000, &top) && top > 0)
            w->ask->features |= ASK_LOGPROBS;
    }
}

void dialect_responses(struct walk *w)
{
    struct fields f = FIELDS(names, READ, true);

    if (!walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;)
        member(w, k);
    walk_require(w, &f, MODEL);
}
