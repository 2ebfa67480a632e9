/* Legacy completions and embeddings: their input is a text, a list of texts, a list of tokens or a list of such lists. */
#include "dialect/dialect.h"

#include "dialect/walk.h"

/* Tokens of one list, the cursor being at its first element. */
static void token_list(struct walk *w)
{
    uint64_t n = 0;
    int64_t token;

    do {
        if (!walk_int(w, 0, INT32_MAX, &token))
            return;
        n++;
    } while (walk_element(w));
    struct ask_part *p = walk_part(w, PART_TOKENS, IN_PROMPT);
    if (p != NULL)
        p->count = n;
}

/* Returns how many inputs there are. */
static int64_t inputs(struct walk *w)
{
    int64_t n = 0;

    if (walk_is(w, JSON_STRING)) {
        walk_text(w, IN_PROMPT);
        return 1;
    }
    if (!walk_array(w, "a string, an array of strings or an array of tokens"))
        return 0;
    while (walk_element(w)) {
        n++;
        switch (json_scan_kind(&w->s)) {
        case JSON_STRING:
            walk_text(w, IN_PROMPT);
            break;
        case JSON_NUMBER:
            if (n > 1) {
                walk_wrong_type(w, "a string, as the elements before it");
                return n;
            }
            token_list(w); /* reads to the end of this array */
            return 1;
        case JSON_ARRAY:
            if (walk_array(w, "an array of tokens") && walk_element(w))
                token_list(w);
            break;
        default:
            walk_wrong_type(w, "a string or an array of tokens");
            return n;
        }
    }
    return n;
}

void dialect_completions(struct walk *w)
{
    enum { MODEL, PROMPT, SUFFIX, MAX_TOKENS, N, BEST_OF, STREAM, STREAM_OPTIONS, LOGPROBS, USER, SERVICE_TIER, READ };
    static const struct slice names[] = {
        FIELD("model"), FIELD("prompt"), FIELD("suffix"), FIELD("max_tokens"), FIELD("n"), FIELD("best_of"), FIELD("stream"),
        FIELD("stream_options"), FIELD("logprobs"), FIELD("user"), FIELD("service_tier"),
        FIELD("temperature"), FIELD("top_p"), FIELD("seed"), FIELD("stop"), FIELD("presence_penalty"), FIELD("frequency_penalty"),
        FIELD("logit_bias"), FIELD("echo"),
    };
    struct fields f = FIELDS(names, READ, true);
    int64_t prompts = 1, top;

    if (!walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case MODEL: walk_model(w); break;
        case PROMPT: prompts = walk_null(w) ? 1 : inputs(w); break;
        case SUFFIX:
            if (!walk_null(w))
                walk_text(w, IN_OTHER);
            break;
        case MAX_TOKENS: walk_max_output(w, 0); break;
        case N:
        case BEST_OF: walk_choices(w); break;
        case STREAM: walk_stream(w); break;
        case STREAM_OPTIONS: walk_stream_options(w); break;
        case LOGPROBS:
            if (!walk_null(w) && walk_int(w, 0, 1000, &top))
                w->ask->features |= ASK_LOGPROBS;
            break;
        case USER: walk_optional(w, &w->ask->user_field); break;
        default: walk_optional(w, &w->ask->service_tier);
        }
    }
    walk_require(w, &f, MODEL);
    if (w->ask->max_output < 0)
        w->ask->max_output = 16;
    /* Each prompt of a list gets its own completions. */
    if (prompts > 1)
        w->ask->choices *= prompts;
}

void dialect_embeddings(struct walk *w)
{
    enum { MODEL, INPUT, USER, READ };
    static const struct slice names[] = { FIELD("model"), FIELD("input"), FIELD("user"), FIELD("encoding_format"), FIELD("dimensions") };
    struct fields f = FIELDS(names, READ, true);

    if (!walk_object(w, "an object"))
        return;
    for (int k; (k = walk_field(w, &f)) >= 0;) {
        switch (k) {
        case MODEL: walk_model(w); break;
        case INPUT: inputs(w); break;
        default: walk_optional(w, &w->ask->user_field);
        }
    }
    walk_require(w, &f, MODEL);
    walk_require(w, &f, INPUT);
}
