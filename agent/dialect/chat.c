#include "dialect/content.h"

/* {"name": ..., "arguments": ...} or {"name": ..., "input": ...} */
static void called_function(struct walk *w)
{
    enum { NAME, ARGUMENTS, INPUT };
    static const struct slice names[] = { FIELD("name"), FIELD("arguments"), FIELD("input") };
    struct fields f = FIELDS(names, 3, true);

    if (walk_null(w) || !walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        if (walk_is(w, JSON_STRING))
            walk_text(w, IN_TOOL_CALL);
        else if (k == NAME)
            walk_wrong_type(w, "a string");
        else if (!walk_null(w)) /* OpenAI wants text; some servers take the object itself */
            walk_json(w, IN_TOOL_CALL);
    }
}

static void tool_call(struct walk *w)
{
    enum { FUNCTION, CUSTOM };
    static const struct slice names[] = { FIELD("function"), FIELD("custom"), FIELD("id"), FIELD("type"), FIELD("index") };
    struct fields f = FIELDS(names, 2, true);

    if (walk_object(w, "an object"))
        while (walk_field(w, &f) >= 0)
            called_function(w);
}

static void tool_calls(struct walk *w)
{
    if (walk_null(w) || !walk_array(w, "an array of tool calls"))
        return;
    while (walk_element(w))
        tool_call(w);
}

static void message(struct walk *w)
{
    enum { ROLE, CONTENT, NAME, TOOL_CALLS, FUNCTION_CALL, REFUSAL, AUDIO, READ };
    static const struct slice names[] = { FIELD("role"),          FIELD("content"), FIELD("name"),         FIELD("tool_calls"),
                                          FIELD("function_call"), FIELD("refusal"), FIELD("audio"),
                                          FIELD("tool_call_id"),  FIELD("id"),      FIELD("annotations"),  FIELD("cache_control") };
    static const struct slice result_roles[] = { FIELD("tool"), FIELD("function") };
    struct fields f = FIELDS(names, READ, true);
    struct json_text role = { 0 };
    size_t first = w->count;

    if (!walk_object(w, "an object with role and content"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case ROLE:
            if (walk_string(w, &role))
                walk_text_read(w, role, IN_ROLE);
            break;
        case CONTENT: content_walk(w, IN_CONTENT); break;
        case NAME:
            if (!walk_null(w))
                walk_text(w, IN_NAME);
            break;
        case TOOL_CALLS: tool_calls(w); break;
        case FUNCTION_CALL: called_function(w); break;
        case REFUSAL:
            if (!walk_null(w))
                walk_text(w, IN_CONTENT);
            break;
        default: /* an earlier spoken answer, by its id */
            if (!walk_null(w)) {
                w->ask->features |= ASK_STORED | ASK_AUDIO;
                walk_unknown(w, IN_CONTENT);
            }
        }
    }
    walk_require(w, &f, ROLE);
    if (walk_text_among(role, result_roles, 2))
        content_move(w, first, IN_TOOL_RESULT);
}

static bool own_tool(struct json_text type)
{
    static const struct slice own[] = { FIELD("function"), FIELD("custom") };
    return type.raw.n == 0 || walk_text_among(type, own, 2);
}

/* "auto" and the like cost nothing; an object names a function. */
static void tool_choice(struct walk *w)
{
    if (walk_is(w, JSON_OBJECT))
        walk_json(w, IN_TOOLS);
    else
        walk_skip(w, NULL);
}

static void response_format(struct walk *w)
{
    static const struct slice names[] = { FIELD("json_schema"), FIELD("type") };
    struct fields f = FIELDS(names, 1, true);

    if (walk_null(w) || !walk_object(w, "an object"))
        return;
    while (walk_field(w, &f) >= 0) {
        if (walk_null(w))
            continue;
        walk_json(w, IN_SCHEMA);
        w->ask->features |= ASK_JSON_SCHEMA;
    }
}

static void prediction(struct walk *w)
{
    static const struct slice names[] = { FIELD("content"), FIELD("type") };
    struct fields f = FIELDS(names, 1, true);

    if (walk_null(w) || !walk_object(w, "an object"))
        return;
    while (walk_field(w, &f) >= 0)
        content_walk(w, IN_PREDICTION);
}

static void modalities(struct walk *w)
{
    static const struct slice audio = FIELD("audio"), image = FIELD("image");
    if (walk_null(w) || !walk_array(w, "an array of strings"))
        return;
    w->ask->images_out = ASK_IMAGES_NONE;
    for (struct json_text t; walk_element(w);) {
        if (!walk_string(w, &t))
            return;
        if (json_text_is(t, audio))
            w->ask->features |= ASK_AUDIO;
        else if (json_text_is(t, image))
            w->ask->images_out = ASK_IMAGES_WANTED;
    }
}

static void logprobs(struct walk *w)
{
    bool on = false;
    if (!walk_null(w) && walk_bool(w, &on) && on)
        w->ask->features |= ASK_LOGPROBS;
}

enum { MODEL, MESSAGES, STREAM, STREAM_OPTIONS, MAX_TOKENS, MAX_COMPLETION_TOKENS, N, TOOLS, FUNCTIONS, TOOL_CHOICE, FUNCTION_CALL,
       RESPONSE_FORMAT, PREDICTION, USER, LOGPROBS, MODALITIES, WEB_SEARCH, SERVICE_TIER, READ };

static const struct slice chat_names[] = {
    FIELD("model"), FIELD("messages"), FIELD("stream"), FIELD("stream_options"), FIELD("max_tokens"), FIELD("max_completion_tokens"),
    FIELD("n"), FIELD("tools"), FIELD("functions"), FIELD("tool_choice"), FIELD("function_call"), FIELD("response_format"),
    FIELD("prediction"), FIELD("user"), FIELD("logprobs"), FIELD("modalities"), FIELD("web_search_options"), FIELD("service_tier"),
    /* read by nobody here, and no part of the prompt */
    FIELD("temperature"), FIELD("top_p"), FIELD("seed"), FIELD("stop"), FIELD("presence_penalty"), FIELD("frequency_penalty"),
    FIELD("logit_bias"), FIELD("metadata"), FIELD("store"), FIELD("parallel_tool_calls"), FIELD("reasoning_effort"),
    FIELD("verbosity"), FIELD("safety_identifier"), FIELD("prompt_cache_key"), FIELD("prompt_cache_retention"), FIELD("top_logprobs"),
    FIELD("audio"),
};

static void chat_member(struct walk *w, int k)
{
    switch (k) {
    case MODEL: walk_model(w); break;
    case MESSAGES: walk_messages(w, message); break;
    case STREAM: walk_stream(w); break;
    case STREAM_OPTIONS: walk_stream_options(w); break;
    case MAX_TOKENS:
    case MAX_COMPLETION_TOKENS: walk_max_output(w, 1); break;
    case N: walk_choices(w); break;
    case TOOLS:
    case FUNCTIONS: walk_tools(w, own_tool); break;
    case TOOL_CHOICE:
    case FUNCTION_CALL: tool_choice(w); break;
    case RESPONSE_FORMAT: response_format(w); break;
    case PREDICTION: prediction(w); break;
    case USER: walk_optional(w, &w->ask->user_field); break;
    case LOGPROBS: logprobs(w); break;
    case MODALITIES: modalities(w); break;
    case SERVICE_TIER: walk_optional(w, &w->ask->service_tier); break;
    default: /* what a search brings in cannot be seen from here */
        if (!walk_null(w))
            walk_unknown(w, IN_OTHER);
    }
}

void dialect_chat(struct walk *w)
{
    struct fields f = FIELDS(chat_names, READ, true);
    bool tokens = false, completion_tokens = false;

    if (!walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        bool is_null = walk_is(w, JSON_NULL);
        tokens = tokens || (k == MAX_TOKENS && !is_null);
        completion_tokens = completion_tokens || (k == MAX_COMPLETION_TOKENS && !is_null);
        if (tokens && completion_tokens)
            walk_refuse(w, "invalid_value", "max_tokens",
                        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported. Send one of them.");
        chat_member(w, k);
    }
    walk_require(w, &f, MODEL);
    walk_require(w, &f, MESSAGES);
}
