/* What a credential is made of: plain structs of NUL-terminated strings that belong to the caller.
 *
 * credential_options_check says what is wrong with them before anything is read. Durations are seconds; 0 means the default. */
#ifndef TOLLGATE_CREDENTIAL_OPTIONS_H
#define TOLLGATE_CREDENTIAL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CREDENTIAL_KEYS_MAX = 16, CREDENTIAL_WEIGHT_MAX = 100, CREDENTIAL_KEY_NAME_MAX = 64 };

/* A secret that is on this machine: exactly one of the three. */
struct credential_secret {
    const char *file;    /* not readable by group or others (base/secret.h); one trailing newline is dropped */
    const char *env;     /* variable; its bytes are wiped from the process environment once read */
    const char *systemd; /* name below $CREDENTIALS_DIRECTORY (systemd.exec, LoadCredential=) */
};

/* Microsoft identity platform, OAuth 2.0 client credentials (RFC 6749 4.4): by secret, or by certificate (RFC 7523 assertion). */
struct credential_azure {
    const char *tenant, *client_id, *scope;
    const char *authority;                   /* NULL: https://login.microsoftonline.com */
    struct credential_secret client_secret;  /* or: */
    const char *certificate;                 /* PEM file; its thumbprint names the key */
    struct credential_secret private_key;    /* PEM, RSA */
    const char *ca_file;
    bool allow_http;                         /* for stand-ins on loopback */
};

/* Google service account: a JWT signed by its key buys an access token (RFC 7523 2.1). */
struct credential_google {
    struct credential_secret service_account; /* the JSON key file as Google gives it out */
    const char *scope;       /* NULL: https://www.googleapis.com/auth/cloud-platform */
    const char *token_url;   /* NULL: the key file's token_uri */
    const char *ca_file;
    bool allow_http;
};

/* HashiCorp Vault or OpenBao: KV version 1 or 2, or any engine that answers with data and a lease. */
struct credential_vault {
    const char *url;         /* https://vault.example.com:8200 */
    const char *path;        /* below /v1/: "secret/data/llm/openai" for KV 2 */
    const char *field;       /* NULL: "value" (with AWS signing: the whole data) */
    const char *vault_namespace;
    struct credential_secret token; /* or: */
    const char *role_id;
    struct credential_secret secret_id;
    const char *approle_mount; /* NULL: approle */
    const char *ca_file;
    bool allow_http;
    int64_t refresh_s;       /* how often a secret without a lease is read again; 0: 300 */
};

/* A program that prints the key, or a token as JSON (RFC 6749 5.1: access_token, expires_in). Run without a shell, without our
 * environment, without our files. */
struct credential_command {
    const char *const *argv; /* argv[0] is an absolute path */
    size_t argc;
    int64_t refresh_s;       /* 0: 3600; a token's own expiry comes first */
    int64_t timeout_s;       /* 0: 10 */
};

/* Exactly one source. */
struct credential_key {
    const char *name;        /* for people and the ledger, unique in its credential; up to 64 printable bytes; NULL: none */
    struct credential_secret secret;
    const struct credential_azure *azure;
    const struct credential_google *google;
    const struct credential_vault *vault;
    const struct credential_command *command;
    unsigned weight;         /* 0: 1 */
};

/* Requests are signed (AWS Signature Version 4) instead of carrying the key. The keys' text is then a credentials file or what
 * `credential_process` prints (aws_keys.h). */
struct credential_aws {
    const char *region;
    const char *service;     /* NULL: bedrock */
};

struct credential_options {
    const char *name;        /* required, unique: what targets refer to */
    const char *scheme;      /* put before the value with one blank; NULL: "Bearer"; "" : the bare value (x-api-key) */
    const struct credential_aws *aws; /* NULL: not signed */
    const struct credential_key *keys;
    size_t key_count;
};

/* True, or false with the reason in `why`, beginning with the place: "keys[1].azure.tenant: ...". */
bool credential_options_check(const struct credential_options *o, char *why, size_t why_size) __attribute__((warn_unused_result));
/* "file", "env", "systemd", "azure", "google", "vault", "command"; NULL when it has none or several. */
const char *credential_key_kind(const struct credential_key *k);
/* All that says where a key comes from, as one text: equal texts are the same source. NULL: out of memory. Free it. */
char *credential_key_identity(const struct credential_options *o, const struct credential_key *k);

#endif
