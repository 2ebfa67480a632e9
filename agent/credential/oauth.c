#include "credential/oauth.h"

#include "base/http_client.h"
#include "base/private.h"
#include "credential/token_reply.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

static bool room(struct oauth_form *f, size_t more)
{
    if (f->cap - f->n >= more)
        return true;
    size_t cap = (f->cap + more) * 2;
    char *bigger = private_alloc(cap);
    if (bigger == NULL)
        return false;
    if (f->text != NULL) {
        memcpy(bigger, f->text, f->n);
        secret_wipe(f->text, f->cap);
        private_free(f->text);
    }
    f->text = bigger;
    f->cap = cap;
    return true;
}

static void put_encoded(struct oauth_form *f, struct slice v)
{
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        if (isalnum(c) || strchr("-._~", c) != NULL) {
            f->text[f->n++] = (char)c;
        } else {
            f->text[f->n++] = '%';
            f->text[f->n++] = "0123456789ABCDEF"[c >> 4];
            f->text[f->n++] = "0123456789ABCDEF"[c & 15];
        }
    }
}

void oauth_form_add(struct oauth_form *f, const char *name, struct slice value)
{
    if (f->failed || !room(f, 3 * (strlen(name) + value.n) + 2)) {
        f->failed = true;
        return;
    }
    if (f->n > 0)
        f->text[f->n++] = '&';
    put_encoded(f, slice_cstr(name));
    f->text[f->n++] = '=';
    put_encoded(f, value);
}

void oauth_form_clear(struct oauth_form *f)
{
    if (f->text != NULL)
        secret_wipe(f->text, f->cap);
    private_free(f->text);
    *f = (struct oauth_form){ .n = 0 };
}

static void take_token(struct key_source *s, const struct token_reply *t)
{
    char *token = private_alloc(t->token.raw.n + 1);

    if (token == NULL) {
        key_source_fail(s, "out of memory");
        return;
    }
    size_t n = json_unescape(t->token.raw, token);
    key_source_done(s, slice_make(token, n), t->expires_in_s);
    secret_wipe(token, t->token.raw.n + 1);
    private_free(token);
}

static void read_reply(struct key_source *s, const struct http_reply *r, struct arena *a)
{
    struct token_reply t;
    const char *why;

    if (token_reply_parse(r->body, a, &t, &why) != 0)
        key_source_fail(s, "the token endpoint answered %ld, and %s", r->status, why);
    else if (r->status != 200)
        key_source_fail(s, "the token endpoint answered %ld: %.*s: %.*s", r->status, SLICE_FMT(t.error), SLICE_FMT(t.description));
    else if (t.token.raw.n == 0)
        key_source_fail(s, "the token endpoint's answer has no access_token");
    else if (t.type.n > 0 && !(t.type.n == 6 && strncasecmp(t.type.p, "Bearer", 6) == 0))
        key_source_fail(s, "the token endpoint gave a token of type %.*s; only Bearer is used", SLICE_FMT(t.type));
    else
        take_token(s, &t);
}

static void on_reply(void *user, const struct http_reply *r)
{
    struct oauth_call *c = user;
    struct key_source *s = c->source;
    struct arena *a = arena_new(4096);

    c->http = NULL;
    if (r->outcome != HTTP_REPLIED)
        key_source_fail(s, "the token endpoint could not be asked: %s", r->why);
    else if (a == NULL)
        key_source_fail(s, "out of memory");
    else
        read_reply(s, r, a);
    arena_free(a);
}

void oauth_post(struct oauth_call *c, const char *url, struct oauth_form *form, const char *ca_file, bool allow_http)
{
    static const char *const headers[] = { "Content-Type: application/x-www-form-urlencoded", "Accept: application/json" };
    char why[200] = "out of memory";
    struct http_request_options o = { .url = url, .headers = headers, .header_count = 2, .body = slice_make(form->text, form->n),
                                      .ca_file = ca_file, .allow_http = allow_http, .max_bytes = 65536, .done = on_reply, .user = c };

    c->http = form->failed ? NULL : http_client_start(c->source->http, &o, why, sizeof why);
    oauth_form_clear(form);
    if (c->http == NULL)
        key_source_fail(c->source, "the token endpoint could not be asked: %s", why);
}

void oauth_cancel(struct oauth_call *c)
{
    http_call_cancel(c->http);
    c->http = NULL;
}
