/* AWS keys: access key id, secret access key and, for temporary ones, session token and expiry.
 *
 * Read from the text of a shared credentials file (INI; the section [default], or the only one), or from JSON: what a credential_process
 * prints (AccessKeyId, SecretAccessKey, SessionToken, Expiration), what container and instance endpoints answer (Token for the
 * session token), what Vault's AWS engine gives out (access_key, secret_key, security_token). The secrets are in locked memory. */
#ifndef TOLLGATE_CREDENTIAL_AWS_KEYS_H
#define TOLLGATE_CREDENTIAL_AWS_KEYS_H

#include "base/secret.h"

#include <stdint.h>

struct aws_keys {
    char id[129];
    struct secret *key;
    struct secret *token;  /* NULL: long-term keys */
    int64_t expires_s;     /* UTC seconds since 1970; -1: not told */
};

/* 0; -1 with a static phrase in *why, which shows nothing of the text. */
int aws_keys_parse(struct slice text, struct aws_keys *out, const char **why) __attribute__((warn_unused_result));
/* Frees the secrets; not the struct. */
void aws_keys_clear(struct aws_keys *k);

/* "2026-11-25T03:30:00Z", fraction and +00:00 allowed -> UTC seconds since 1970. */
bool aws_time_parse(struct slice text, int64_t *seconds);

#endif
