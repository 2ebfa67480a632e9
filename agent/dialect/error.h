/* Error bodies in the shape the client's SDK expects.
 *
 * OpenAI: {"error":{"message":...,"type":...,"param":...,"code":...}}. On /v1/messages Anthropic's: {"type":"error","error":{"type":...,
 * "message":...}}, with Anthropic's type for the status. One line of printable ASCII (\u escapes for the rest), because HAProxy 2.6 and 3.0
 * percent-encode control bytes in what they print. */
#ifndef TOLLGATE_DIALECT_ERROR_H
#define TOLLGATE_DIALECT_ERROR_H

#include "request.h"

/* In the arena, NUL-terminated behind its length; p NULL: memory is out. For a path that is no endpoint pass ENDPOINT_CHAT. A refusal
 * without type gets one that fits its status. */
struct slice dialect_error_body(enum endpoint endpoint, const struct refusal *why, struct arena *arena);

#endif
