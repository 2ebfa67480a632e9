#include "base/clock.h"
#include "credential/assertion.h"
#include "credential/oauth.h"

#include <stdio.h>
#include <stdlib.h>

enum { ASSERTION_S = 600, URL_MAX = 1024 };

static const char default_authority[] = "https://login.microsoftonline.com";

struct azure {
    struct key_source base;
    const struct credential_azure *o;
    struct oauth_call call;
};

/* The certificate's key signs: the endpoint is the audience, the application issuer and subject (Microsoft identity platform,
 * "application authentication certificate credentials"). */
static bool add_assertion(struct azure *z, const char *url, struct oauth_form *f, char *fault, size_t fault_size)
{
    struct thumbprints t;
    const char *why;

    if (!assertion_thumbprints(z->o->certificate, &t, fault, fault_size))
        return false;
    struct secret *key = origin_read(&z->o->private_key, z->base.pool, fault, fault_size);
    if (key == NULL)
        return false;
    key_source_knows(&z->base, 0, secret_view(key));
    struct assertion a = { .issuer = z->o->client_id, .subject = z->o->client_id, .audience = url, .x5t = t.x5t, .x5t_s256 = t.x5t_s256,
                           .now_s = clock_wall_us() / 1000000, .lifetime_s = ASSERTION_S };
    char *token = assertion_sign(&a, key, &why);
    secret_free(key);
    if (token == NULL) {
        snprintf(fault, fault_size, "%s", why);
        return false;
    }
    oauth_form_add(f, "client_assertion_type", SLICE_LIT("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
    oauth_form_add(f, "client_assertion", slice_cstr(token));
    secret_wipe(token, strlen(token));
    free(token);
    return true;
}

static bool add_secret(struct azure *z, struct oauth_form *f, char *fault, size_t fault_size)
{
    struct secret *secret = origin_read(&z->o->client_secret, z->base.pool, fault, fault_size);

    if (secret == NULL)
        return false;
    key_source_knows(&z->base, 0, secret_view(secret));
    oauth_form_add(f, "client_secret", secret_view(secret));
    secret_free(secret);
    return true;
}

static void fetch(struct key_source *s)
{
    struct azure *z = (struct azure *)s;
    struct oauth_form form = { .n = 0 };
    char url[URL_MAX], fault[200];
    const char *authority = z->o->authority != NULL ? z->o->authority : default_authority;

    if ((size_t)snprintf(url, sizeof url, "%s/%s/oauth2/v2.0/token", authority, z->o->tenant) >= sizeof url) {
        key_source_fail(s, "the token endpoint's address is too long");
        return;
    }
    oauth_form_add(&form, "grant_type", SLICE_LIT("client_credentials"));
    oauth_form_add(&form, "client_id", slice_cstr(z->o->client_id));
    oauth_form_add(&form, "scope", slice_cstr(z->o->scope));
    if (!(z->o->certificate != NULL ? add_assertion(z, url, &form, fault, sizeof fault) : add_secret(z, &form, fault, sizeof fault))) {
        oauth_form_clear(&form);
        key_source_fail(s, "%s", fault);
        return;
    }
    oauth_post(&z->call, url, &form, z->o->ca_file, z->o->allow_http);
}

static void cancel(struct key_source *s)
{
    struct azure *z = (struct azure *)s;
    oauth_cancel(&z->call);
}

static void azure_free(struct key_source *s)
{
    free(s);
}

static const struct key_source_ops ops = { .retries = true, .fetch = fetch, .cancel = cancel, .free = azure_free };

struct key_source *key_source_azure_new(const struct credential_azure *o)
{
    struct azure *z = calloc(1, sizeof *z);
    if (z == NULL)
        return NULL;
    z->base.ops = &ops;
    z->o = o;
    z->call.source = &z->base;
    return &z->base;
}
