/* A token endpoint's reply (RFC 6749 5.1 and 5.2), and what commands print in the same shape.
 *
 * The token itself is left where it stands, still escaped: the caller copies it into its own memory and wipes the reply. */
#ifndef TOLLGATE_CREDENTIAL_TOKEN_REPLY_H
#define TOLLGATE_CREDENTIAL_TOKEN_REPLY_H

#include "base/arena.h"
#include "base/json_scan.h"

struct token_reply {
    struct json_text token;       /* access_token (or "token"); raw.p NULL: none */
    int64_t expires_in_s;         /* expires_in, as a number or as digits in a string; -1: not told */
    struct slice type;            /* token_type, decoded; empty: not told */
    struct slice error, description; /* of an error reply, decoded, at most 200 bytes each */
};

/* 0; -1 with a static phrase in *why when it is no JSON object or a member has the wrong type. Texts in the arena. */
int token_reply_parse(struct slice body, struct arena *a, struct token_reply *out, const char **why) __attribute__((warn_unused_result));

#endif
