/* Revocation: who is refused although his credential is good. An immutable list that every worker looks into after it has verified a
 * credential, also when the verification came from its cache.
 *
 * An entry names a subject, a token, a team, a gateway key, a session or a client certificate. It holds for every issuer unless it names one,
 * for ever unless it ends. Entries made by a logout hold for what was issued before it only: who logs in again is let in again. */
#ifndef TOLLGATE_IDENTITY_REVOCATION_H
#define TOLLGATE_IDENTITY_REVOCATION_H

#include "base/snapshot.h"
#include "request.h"

enum { REVOCATION_VALUE_MAX = 1024 }; /* bytes of a value, and of an issuer */

enum revocation_kind {
    REVOKED_SUBJECT, /* the credential's subject, or the user it is mapped to */
    REVOKED_TOKEN,   /* its `jti`, or "sha256:" and 64 hexadecimal digits: the digest of the whole token as sent */
    REVOKED_TEAM,
    REVOKED_KEY,     /* the id of a gateway key */
    REVOKED_SESSION, /* the token's `sid` (OpenID Connect Front- and Back-Channel Logout 1.0) */
    REVOKED_CERTIFICATE, /* a client certificate's SHA-256, 64 hexadecimal digits; also when it comes beside a token */
    REVOKED_KINDS
};

const char *revocation_kind_name(enum revocation_kind kind);
/* False for any other word. */
bool revocation_kind_from_name(struct slice name, enum revocation_kind *out);

struct revocation {
    enum revocation_kind kind;
    struct slice issuer, value;  /* issuer empty: whoever issued it */
    int64_t before_s;            /* only what was issued at or before this second, or does not say when; 0: all */
    bool sessionless;            /* only tokens that name no session */
    int64_t expires_s;           /* the entry is of no effect from this second on; 0: never ends */
};

struct revocation_list;

/* Copies the entries, which have passed revocation_check. NULL when memory is out. One reference. */
struct revocation_list *revocation_list_new(const struct revocation *entries, size_t count) __attribute__((warn_unused_result));
/* For snapshot_publish; `s` a list's snapshot for the functions below. */
struct snapshot *revocation_list_snapshot(struct revocation_list *l);
const struct revocation_list *revocation_list_of(const struct snapshot *s);

/* The entry that refuses this identity at now_s, NULL when none does. `digest`: SHA-256 of the token as sent; NULL: not a token. */
const struct revocation *revocation_find(const struct revocation_list *l, const struct identity *id, const uint8_t digest[32], int64_t now_s);

/* NULL when the entry can be kept, else what is wrong with it (static). Hexadecimal digits of a digest must be lower case. */
const char *revocation_check(const struct revocation *r);
/* One line of a revocation file: "KIND VALUE", blanks around them ignored; the value goes to the line's end. 1: *out points into the line;
 * 0: empty, or a comment (#); -1: refused with a static reason in *why. */
int revocation_line_parse(struct slice line, struct revocation *out, const char **why);

#endif
