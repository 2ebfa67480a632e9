/* What Vault and OpenBao answer: a secret's data with its lease, or a token (auth), or errors.
 *
 * Secrets are left where they stand, still escaped: the caller copies them into its own memory and wipes the reply. */
#ifndef TOLLGATE_CREDENTIAL_VAULT_REPLY_H
#define TOLLGATE_CREDENTIAL_VAULT_REPLY_H

#include "base/arena.h"
#include "base/json_scan.h"

struct vault_reply {
    struct slice data;           /* raw JSON of the secret's own object: data.data for KV 2, else data; p NULL: none */
    char lease_id[257];          /* "": no lease */
    int64_t lease_s;             /* lease_duration; 0: none told */
    bool renewable;
    struct json_text token;      /* auth.client_token; raw.p NULL: none */
    int64_t token_s;             /* auth.lease_duration; 0: it does not expire */
    bool token_renewable;
    struct slice error;          /* the first of `errors`, decoded, at most 200 bytes */
};

/* 0; -1 with a static phrase in *why when it is no JSON object or a member has the wrong type. Texts in the arena. */
int vault_reply_parse(struct slice body, struct arena *a, struct vault_reply *out, const char **why) __attribute__((warn_unused_result));
/* The string member `field` of a JSON object. False: there is none, or it is no string. */
bool vault_field(struct slice object, const char *field, struct json_text *out);
bool vault_is_true(struct slice object, const char *field);
/* An integer member; -1 when there is none. */
int64_t vault_number(struct slice object, const char *field);

#endif
