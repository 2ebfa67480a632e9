/* Usage: the provider's own account of a request, turned into kinds of tokens that do not overlap.
 *
 * OpenAI chat and completions: prompt_tokens includes cached and audio tokens, completion_tokens includes reasoning, audio and
 * prediction tokens. Responses: the same under input_tokens and output_tokens. Embeddings: prompt_tokens only. Anthropic: input_tokens
 * excludes cache_read_input_tokens and cache_creation_input_tokens (which cache_creation may split into 5 minutes and 1 hour).
 * Zero usage is usage. A negative figure, one above 10^9, a wrong type, or parts above their whole by more than rounding can explain make
 * the object unusable: the caller then counts itself, and never bills nonsense. */
#ifndef TOLLGATE_SETTLE_USAGE_H
#define TOLLGATE_SETTLE_USAGE_H

#include "request.h"

/* `json` is one usage object; `earlier` is Anthropic's from message_start, or empty (output and what the later one lacks are taken from it).
 * 0; -1: not usable, *why (static) says what is wrong. */
int usage_parse(struct slice json, struct slice earlier, struct token_usage *out, const char **why) __attribute__((warn_unused_result));
/* Output tokens of all kinds; all tokens. */
int64_t usage_output(const struct token_usage *u);
int64_t usage_total(const struct token_usage *u);

#endif
