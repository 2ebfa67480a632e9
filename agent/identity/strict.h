/* Strict reading of what a token is made of: base64url without padding (RFC 7515 section 2) and JSON (RFC 8259).
 *
 * cJSON builds the tree, but it accepts much that is not JSON, cuts strings at an escaped NUL and keeps duplicate names; libjwt reads
 * the same bytes with another parser. Two parsers that disagree are how forged claims pass, so text is held to the grammar here
 * before any of them sees it. Nothing here allocates except the tree. */
#ifndef TOLLGATE_IDENTITY_STRICT_H
#define TOLLGATE_IDENTITY_STRICT_H

#include "base/slice.h"

#include <cjson/cJSON.h>
#include <stdint.h>

/* Decodes `in` into `out` (capacity in.n / 4 * 3 + 3 at least). False for any byte outside the alphabet (also '=' and blanks), an
 * impossible length, or bits set in the last character that no byte uses: each value has one spelling. */
bool strict_base64url(struct slice in, uint8_t *out, size_t *n) __attribute__((warn_unused_result));

struct strict_limits {
    unsigned depth;   /* nesting of arrays and objects; at most 32 */
    unsigned members; /* of all objects together */
};

/* Parses one JSON object: UTF-8, no BOM, no escaped NUL, no lone surrogate, no duplicate name in any object, no number beyond a
 * double's range. NULL with a static phrase in *why ("is not JSON", "names a member twice", ...) on refusal. Free with cJSON_Delete. */
cJSON *strict_json_object(struct slice text, struct strict_limits limits, const char **why) __attribute__((warn_unused_result));

/* The member with exactly this name, NULL when absent. */
const cJSON *strict_member(const cJSON *object, const char *name);
/* Its text; NULL when absent or not a string. */
const char *strict_string(const cJSON *object, const char *name);

#endif
