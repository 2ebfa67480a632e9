/* Asking a token endpoint: a form is posted, the reply's token becomes the source's value. Shared by the kinds that use OAuth 2.0. */
#ifndef TOLLGATE_CREDENTIAL_OAUTH_H
#define TOLLGATE_CREDENTIAL_OAUTH_H

#include "credential/source.h"

struct http_call;

/* An application/x-www-form-urlencoded body; it may hold secrets: oauth_form_clear wipes it. */
struct oauth_form {
    char *text;
    size_t n, cap;
    bool failed; /* out of memory; told by oauth_post */
};
void oauth_form_add(struct oauth_form *f, const char *name, struct slice value);
void oauth_form_clear(struct oauth_form *f);

/* A call under way, kept by the kind. */
struct oauth_call {
    struct key_source *source;
    struct http_call *http; /* NULL: none */
};
/* Posts the form and clears it. The source's fetch ends with the reply, or at once when the call cannot be made. */
void oauth_post(struct oauth_call *c, const char *url, struct oauth_form *form, const char *ca_file, bool allow_http);
void oauth_cancel(struct oauth_call *c);

#endif
