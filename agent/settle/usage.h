/* Usage: what the provider says it billed, as disjoint token kinds.
 *
 * Shapes, told apart by their keys:
 *   OpenAI chat, completions, embeddings: prompt_tokens (cached and audio tokens included), completion_tokens (reasoning, audio and
 *     predicted tokens included), *_tokens_details.
 *     image_tokens among them (OpenRouter, LiteLLM: images in the answer) stay in output and are told apart beside it.
 *   OpenAI Responses: input_tokens, output_tokens, input_tokens_details.cached_tokens, output_tokens_details.reasoning_tokens.
 *   Anthropic: input_tokens EXCLUDES cache_read_input_tokens and cache_creation_input_tokens; cache_creation splits the latter by life time
 *     (ephemeral_5m_input_tokens, ephemeral_1h_input_tokens).
 * Sources: OpenAI API reference (usage objects), Anthropic "Prompt caching". DeepSeek's prompt_cache_hit_tokens is read as cached.
 *
 * Nonsense never becomes money: a negative, fractional or non-numeric count, or one above 10^9, makes the whole object refused; a detail
 * larger than its total is clamped to what the total leaves (cached first, then audio; reasoning first, then audio) and sets `clamped`.
 * Zeros are an answer: usage that says 0 is present. */
#ifndef TOLLGATE_SETTLE_USAGE_H
#define TOLLGATE_SETTLE_USAGE_H

#include "request.h"

#define USAGE_MAX_TOKENS 1000000000

struct usage_report {
    struct token_usage tokens;
    bool has_input, has_output; /* which totals the object named; Anthropic's message_delta may name only output */
    bool clamped;
    int64_t cost_nano;          /* what the object says it cost (OpenRouter: `cost` in USD), to be compared, never charged; -1: nothing usable */
};

/* `json` is the usage object itself. 0; -1 with a static phrase in *why when it names no count at all (null, {}), or is refused. */
int usage_parse(struct slice json, struct usage_report *out, const char **why) __attribute__((warn_unused_result));
/* A later object about the same response, e.g. Anthropic's message_delta after message_start: what it names replaces what was known;
 * input kinds and output kinds as a whole each. */
void usage_merge(struct usage_report *into, const struct usage_report *later);

#endif
