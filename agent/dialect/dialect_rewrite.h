/* Rewriting the request for its target, without building it anew: a list of edits for HAProxy's splicer.
 *
 * Edit list, the wire format: `off,len,textlen:text;` for each edit, sorted by DESCENDING offset, not overlapping. off and len are bytes
 * of the original body (0-based), text is the replacement, printable ASCII without CR and LF; no edits: the empty string. Applied in
 * order, each edit leaves the offsets of the ones after it true.
 *
 * Members are inserted right behind the outer brace. The ceiling is for one choice, as the APIs define it. Everything else of the body
 * stays byte for byte. */
#ifndef TOLLGATE_DIALECT_REWRITE_H
#define TOLLGATE_DIALECT_REWRITE_H

#include "request.h"

/* A top-level member to set or to drop; not one of those the wish names otherwise (model, the ceiling, stream_options). */
struct rewrite_member {
    const char *name; /* ASCII letters, digits and _ */
    const char *json; /* the value: valid JSON in printable ASCII; NULL: drop the member */
};

struct rewrite_wish {
    struct slice model;          /* UTF-8; replaces the value of `model`. Empty: leave it */
    int64_t output_ceiling;      /* -1: leave it. Else: written when the client's own is absent, null or larger */
    const char *ceiling_key;     /* name for the ceiling when it is inserted; NULL: the endpoint's own (max_completion_tokens,
                                    max_output_tokens, max_tokens) */
    bool rename_ceiling;         /* the client's key becomes ceiling_key too: for models that refuse max_tokens */
    bool include_usage;          /* streams of chat and completions: set stream_options.include_usage */
    const struct rewrite_member *members;
    size_t member_count;         /* at most 16 */
};

/* `ask` must come from dialect_parse on the same `body`. *edits is in the arena; *delta is what the edits add to Content-Length. 0, or -1
 * when memory is out, or when a body repeats a name of `members` so often that more than 64 edits were needed. */
int dialect_rewrite(const struct ask *ask, struct slice body, const struct rewrite_wish *wish, struct arena *arena,
                    struct slice *edits, int64_t *delta) __attribute__((warn_unused_result));

/* The rewritten body piece by piece, front to back, without building it: for hashing. 0, or -1 when the list breaks the format or `piece`
 * returned false. */
int dialect_rewrite_pieces(struct slice body, struct slice edits, bool (*piece)(void *user, struct slice s), void *user)
    __attribute__((warn_unused_result));

/* What HAProxy's splicer does, for tests: applies `edits` to `body`. 0, or -1 when the list breaks the format or memory is out. */
int dialect_rewrite_apply(struct slice body, struct slice edits, struct arena *arena, struct slice *out)
    __attribute__((warn_unused_result));

#endif
