/* A Google service account's key file: JSON with client_email, private_key (PEM), private_key_id, token_uri. */
#ifndef TOLLGATE_CREDENTIAL_SERVICE_ACCOUNT_H
#define TOLLGATE_CREDENTIAL_SERVICE_ACCOUNT_H

#include "base/secret.h"

struct service_account {
    char client_email[321], private_key_id[129], token_uri[513]; /* the latter two "" when absent */
    struct secret *private_key;
};

/* 0; -1 with a static phrase in *why, which shows nothing of the text. */
int service_account_parse(struct slice text, struct service_account *out, const char **why) __attribute__((warn_unused_result));
/* Frees the key; not the struct. */
void service_account_clear(struct service_account *a);

#endif
