#include "base/clock.h"
#include "credential/assertion.h"
#include "credential/oauth.h"
#include "credential/service_account.h"

#include <stdlib.h>

enum { ASSERTION_S = 3600 }; /* the most Google allows */

struct google {
    struct key_source base;
    const struct credential_google *o;
    struct oauth_call call;
};

static void ask(struct google *g, const struct service_account *account)
{
    const char *url = g->o->token_url != NULL ? g->o->token_url : account->token_uri, *why;
    struct assertion a = {
        .issuer = account->client_email, .audience = url, .key_id = account->private_key_id[0] != '\0' ? account->private_key_id : NULL,
        .scope = g->o->scope != NULL ? g->o->scope : "https://www.googleapis.com/auth/cloud-platform",
        .now_s = clock_wall_us() / 1000000, .lifetime_s = ASSERTION_S,
    };
    struct oauth_form form = { .n = 0 };
    char *token;

    if (url[0] == '\0') {
        key_source_fail(&g->base, "the key file has no token_uri; set token_url");
        return;
    }
    token = assertion_sign(&a, account->private_key, &why);
    if (token == NULL) {
        key_source_fail(&g->base, "%s", why);
        return;
    }
    oauth_form_add(&form, "grant_type", SLICE_LIT("urn:ietf:params:oauth:grant-type:jwt-bearer"));
    oauth_form_add(&form, "assertion", slice_cstr(token));
    secret_wipe(token, strlen(token));
    free(token);
    oauth_post(&g->call, url, &form, g->o->ca_file, g->o->allow_http);
}

static void fetch(struct key_source *s)
{
    struct google *g = (struct google *)s;
    struct service_account account;
    char fault[200];
    const char *why;
    struct secret *file = origin_read(&g->o->service_account, s->pool, fault, sizeof fault);

    if (file == NULL) {
        key_source_fail(s, "%s", fault);
        return;
    }
    if (service_account_parse(secret_view(file), &account, &why) != 0) {
        key_source_fail(s, "the service account's key file: %s", why);
    } else {
        key_source_knows(s, 0, secret_view(account.private_key));
        ask(g, &account);
        service_account_clear(&account);
    }
    secret_free(file);
}

static void cancel(struct key_source *s)
{
    oauth_cancel(&((struct google *)s)->call);
}

static void google_free(struct key_source *s)
{
    free(s);
}

static const struct key_source_ops ops = { .retries = true, .fetch = fetch, .cancel = cancel, .free = google_free };

struct key_source *key_source_google_new(const struct credential_google *o)
{
    struct google *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->base.ops = &ops;
    g->o = o;
    g->call.source = &g->base;
    return &g->base;
}
