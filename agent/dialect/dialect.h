/* Dialects: what a request body asks for, in each of the APIs clients speak.
 *
 * One walk over the body (json_scan.h) fills struct ask: model, limits, flags, every stretch that costs input tokens, and where things
 * stand for rewriting. Nothing is copied except what had to be unescaped; slices point into the body or the arena.
 *
 * What is refused (HTTP 400, type invalid_request_error, `param` as OpenAI writes it: "messages[2].content"):
 *   - a body that is not one whole JSON object in UTF-8. reason is "body_truncated" when it ends too early (the caller knows whether
 *     HAProxy's buffer cut it and adds what to change), else "body_not_json";
 *   - a key we read that is there twice in its object (parsers disagree which one counts), after unescaping: code "duplicate_key";
 *   - a key that differs from one we read only by upper and lower case (some servers would read it): code "unknown_parameter";
 *   - a value of the wrong type or out of range: code "invalid_type" or "invalid_value". null counts as absent where OpenAI allows it;
 *   - what is missing and needed: code "missing_required_parameter";
 *   - max_tokens and max_completion_tokens both given, as OpenAI does.
 * Unknown fields pass. Where one holds a string, object or array and could therefore reach the prompt, it is listed as a PART_JSON
 * IN_OTHER, so that the bound holds. Content of unknown type, remote files and provider-side state are PART_UNKNOWN.
 *
 * Sources: OpenAI API reference (chat, responses, completions, embeddings), Anthropic API reference (messages), RFC 8259. */
#ifndef TOLLGATE_DIALECT_DIALECT_H
#define TOLLGATE_DIALECT_DIALECT_H

#include "request.h"

enum dialect_match {
    DIALECT_MATCH,
    DIALECT_NO_PATH,  /* not an endpoint we know: 404 */
    DIALECT_NO_METHOD /* one of ours, but not POST: 405 */
};

/* The path must match byte for byte: HAProxy normalised it. *out is set unless DIALECT_NO_PATH. */
enum dialect_match dialect_endpoint(struct slice method, struct slice path, enum endpoint *out)
    __attribute__((warn_unused_result));
/* Whether the path only asks how many tokens a request would have: /v1/messages/count_tokens, otherwise an ENDPOINT_MESSAGES. */
bool dialect_counts_only(struct slice path);
/* The path of an endpoint, e.g. "/v1/chat/completions"; words for ENDPOINT_PASSTHROUGH, which has many. */
const char *dialect_path(enum endpoint e);
/* Its word in configurations and commands: chat, responses, completions, embeddings, messages, passthrough. */
const char *dialect_endpoint_name(enum endpoint e);
bool dialect_endpoint_from_name(struct slice name, enum endpoint *out) __attribute__((warn_unused_result));

#define DIALECT_MAX_CHOICES 128        /* n and best_of */
#define DIALECT_MAX_TOOL_CALLS 1000000
#define DIALECT_MAX_OUTPUT 2147483647  /* any output ceiling */

/* Reads `body` of any endpoint but ENDPOINT_PASSTHROUGH. 0: *out is complete. -1: *why says what to change (message in the arena or static; status 500 and reason "memory" when
 * memory is out); *out then holds what had been read, of which only endpoint and model may be used.
 * Legacy completions without max_tokens get max_output 16, the documented default, with at_max_output.len 0. */
int dialect_parse(enum endpoint endpoint, struct slice body, struct arena *arena, struct ask *out, struct refusal *why)
    __attribute__((warn_unused_result));
/* The same in slices, for a body that would hold up a loop. Everything given must stay in place until the job is freed. */
struct dialect_job;
struct fiber_pool;
/* NULL when memory is out. `count_only`: as dialect_parse_count. */
struct dialect_job *dialect_job_new(struct fiber_pool *pool, enum endpoint endpoint, bool count_only, struct slice body, struct arena *arena,
                                    struct ask *out, struct refusal *why) __attribute__((warn_unused_result));
/* Does `work` as base/json_scan.h counts it, and at most JSON_STRETCH more. 1: parsed, -1: refused (then it may only be freed); 0: call again. */
int dialect_job_step(struct dialect_job *job, size_t work) __attribute__((warn_unused_result));
/* The work of the last step. */
size_t dialect_job_work(const struct dialect_job *job);
/* Also before it has ended. NULL is allowed. */
void dialect_job_free(struct dialect_job *job);

/* The same as dialect_parse for a body of /v1/messages/count_tokens, which has no max_tokens; out->count_only is set (Anthropic API reference:
 * messages-count-tokens). */
int dialect_parse_count(struct slice body, struct arena *arena, struct ask *out, struct refusal *why) __attribute__((warn_unused_result));

#endif
