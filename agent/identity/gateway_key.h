/* Gateway keys: credentials for machines that have no identity provider. `tollgatectl key create` makes one and shows it once.
 *
 * The text is "tg_", 256 random bits as 43 digits of base 62 (0-9 A-Z a-z), and their CRC-32 as 6 more: a scanner finds
 * tg_[0-9A-Za-z]{49} and can tell a key from a word that looks like one, and a typo is told apart from a key that is not known. Kept is
 * HMAC-SHA-256 of the text's SHA-256 under a secret that stands outside the ledger: who has read the ledger cannot even test guesses.
 *
 * A table is immutable; every worker looks into the one in force (base/snapshot.h). */
#ifndef TOLLGATE_IDENTITY_GATEWAY_KEY_H
#define TOLLGATE_IDENTITY_GATEWAY_KEY_H

#include "base/snapshot.h"
#include "request.h"

#define GATEWAY_KEY_ISSUER "gateway-key" /* struct identity.issuer of whoever comes with one; the subject is the key's id */

enum { GATEWAY_KEY_TEXT = 52, GATEWAY_KEY_HASH = 32 };

/* A new key, NUL-terminated; the caller wipes it. False: the system has no random bytes. */
bool gateway_key_make(char out[static GATEWAY_KEY_TEXT + 1]) __attribute__((warn_unused_result));
/* The text of the key that these 32 bytes make. */
void gateway_key_text(const uint8_t secret[static 32], char out[static GATEWAY_KEY_TEXT + 1]);
/* Begins as gateway keys do: nothing else is to be tried. */
bool gateway_key_looks(struct slice credential);
/* NULL for a key that is whole, else what is wrong (static). */
const char *gateway_key_check(struct slice credential);
/* `digest` is SHA-256 of the key's text. */
bool gateway_key_hash(struct slice secret, const uint8_t digest[static 32], uint8_t out[static GATEWAY_KEY_HASH])
    __attribute__((warn_unused_result));

struct gateway_key {
    struct slice id, organization, team, user, application, cost_center;
    struct slice groups, models;  /* one a line; models empty: all */
    struct slice budget;          /* struct identity.key_budget */
    unsigned endpoints;           /* bit per enum endpoint; 0: all */
    int64_t created_s, expires_s; /* expires_s 0: never */
    uint8_t hash[GATEWAY_KEY_HASH], previous_hash[GATEWAY_KEY_HASH];
    bool has_previous;
    int64_t previous_until_s;     /* the key before the last rotation is accepted until then */
};

struct gateway_key_table;

/* Copies. NULL when memory is out. One reference. */
struct gateway_key_table *gateway_key_table_new(const struct gateway_key *keys, size_t count) __attribute__((warn_unused_result));
struct snapshot *gateway_key_table_snapshot(struct gateway_key_table *t);
const struct gateway_key_table *gateway_key_table_of(const struct snapshot *s);

enum gateway_key_found { GATEWAY_KEY_GOOD, GATEWAY_KEY_UNKNOWN, GATEWAY_KEY_EXPIRED, GATEWAY_KEY_REPLACED };
/* GOOD: *out is the identity, its slices in the table. `t` may be NULL. */
enum gateway_key_found gateway_key_find(const struct gateway_key_table *t, const uint8_t hash[static GATEWAY_KEY_HASH], int64_t now_s,
                                        struct identity *out);

#endif
