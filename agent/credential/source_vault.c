#include "base/clock.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/private.h"
#include "credential/source.h"
#include "credential/vault_reply.h"

#include <stdio.h>
#include <stdlib.h>

enum { REFRESH_S = 300, RENEW_AGAIN_S = 5, URL_MAX = 2048, REPLY_MAX = 1 << 20 };

/* Slots of key_source_knows. */
enum { KNOWN_LOGIN, KNOWN_TOKEN };

enum step { STEP_LOGIN, STEP_LOOKUP, STEP_READ, STEP_RENEW_LEASE };

struct vault {
    struct key_source base;
    const struct credential_vault *o;
    struct http_call *call, *renew_call;
    enum step step;
    struct secret *token;        /* NULL: none yet */
    int64_t token_until_mono_us; /* INT64_MAX: it does not expire, as far as is known */
    bool looked_up, logged_in_anew;
    ev_timer renew;
    struct secret *text;         /* the last value, for as long as its lease is renewed */
    char lease_id[257];          /* "": read again instead */
    int64_t lease_s;             /* when it was new */
};

static void step_start(struct vault *v, enum step step);

/* ---- calls ------------------------------------------------------------------------------------------------------------- */

/* One call to the vault. NULL when it cannot be made; `why` says so. */
static struct http_call *call_start(struct vault *v, const char *method, const char *path, struct slice body, http_done_fn *done,
                                    char *why, size_t why_size)
{
    char url[URL_MAX], space[300];
    char *token = NULL;
    const char *headers[4] = { "X-Vault-Request: true", "Content-Type: application/json" };
    size_t n = 2, token_size = 0;

    if ((size_t)snprintf(url, sizeof url, "%s/v1/%s", v->o->url, path) >= sizeof url) {
        snprintf(why, why_size, "its address is too long");
        return NULL;
    }
    if (v->o->vault_namespace != NULL) {
        snprintf(space, sizeof space, "X-Vault-Namespace: %s", v->o->vault_namespace);
        headers[n++] = space;
    }
    if (v->token != NULL) {
        struct slice t = secret_view(v->token);
        token_size = t.n + sizeof "X-Vault-Token: ";
        token = private_alloc(token_size);
        if (token == NULL) {
            snprintf(why, why_size, "out of memory");
            return NULL;
        }
        snprintf(token, token_size, "X-Vault-Token: %.*s", SLICE_FMT(t));
        headers[n++] = token;
    }
    struct http_request_options o = { .method = method, .url = url, .headers = headers, .header_count = n, .body = body,
                                      .ca_file = v->o->ca_file, .allow_http = v->o->allow_http, .max_bytes = REPLY_MAX, .done = done,
                                      .user = v };
    struct http_call *call = http_client_start(v->base.http, &o, why, why_size);
    if (token != NULL)
        secret_wipe(token, token_size);
    private_free(token);
    return call;
}

/* {"name":"...","name":"..."}, in private memory; *size is what was allocated. */
static char *json_pairs(const char *const names[2], const struct slice values[2], size_t *size, size_t *n)
{
    *size = 6 * (values[0].n + values[1].n) + 128;
    char *p = private_alloc(*size);

    if (p == NULL)
        return NULL;
    *n = 0;
    for (int i = 0; i < 2; i++) {
        *n += (size_t)snprintf(p + *n, *size - *n, "%s\"%s\":\"", i == 0 ? "{" : ",", names[i]);
        *n += json_escape_ascii(values[i], p + *n);
        p[(*n)++] = '"';
    }
    p[(*n)++] = '}';
    return p;
}

/* ---- the token's own life ----------------------------------------------------------------------------------------------- */

static void token_drop(struct vault *v)
{
    ev_timer_stop(v->base.loop, &v->renew);
    secret_free(v->token);
    v->token = NULL;
    v->looked_up = false;
}

static void renew_later(struct vault *v, double after)
{
    ev_timer_stop(v->base.loop, &v->renew);
    ev_now_update(v->base.loop);
    ev_timer_set(&v->renew, after, 0.);
    ev_timer_start(v->base.loop, &v->renew);
}

static void token_lives(struct vault *v, int64_t seconds, bool renewable)
{
    v->token_until_mono_us = seconds > 0 ? clock_mono_us() + seconds * 1000000 : INT64_MAX;
    if (seconds > 0 && renewable)
        renew_later(v, key_source_ahead_s(seconds, 0.5));
}

static void on_renewed(void *user, const struct http_reply *r)
{
    struct vault *v = user;
    struct vault_reply reply;
    const char *why = "";
    struct arena *a = arena_new(1024);

    v->renew_call = NULL;
    bool ok = a != NULL && r->outcome == HTTP_REPLIED && r->status == 200 && vault_reply_parse(r->body, a, &reply, &why) == 0 &&
              reply.token_s > 0;
    if (ok) {
        token_lives(v, reply.token_s, reply.token_renewable);
    } else {
        LOG(LOG_LEVEL_WARN, "vault_token_not_renewed", LOG_CSTR("url", v->o->url), LOG_INT("status", r->status), LOG_CSTR("why", r->why));
        if (clock_mono_us() + RENEW_AGAIN_S * INT64_C(1000000) < v->token_until_mono_us)
            renew_later(v, RENEW_AGAIN_S);
        else
            token_drop(v); /* the next fetch logs in */
    }
    arena_free(a);
}

static void on_renew(struct ev_loop *loop, ev_timer *t, int events)
{
    struct vault *v = t->data;
    char why[160];

    (void)loop, (void)events;
    if (v->renew_call == NULL && v->token != NULL)
        v->renew_call = call_start(v, "POST", "auth/token/renew-self", SLICE_LIT("{}"), on_renewed, why, sizeof why);
}

/* ---- one fetch ---------------------------------------------------------------------------------------------------------- */

static bool token_take(struct vault *v, struct slice token)
{
    token_drop(v);
    v->token = secret_new(token.p, token.n);
    key_source_knows(&v->base, KNOWN_TOKEN, token);
    return v->token != NULL;
}

static void fail_reply(struct vault *v, const char *what, const struct http_reply *r, const struct vault_reply *reply)
{
    key_source_fail(&v->base, "the vault answered %ld to %s%s%.*s", r->status, what, reply->error.n > 0 ? ": " : "", SLICE_FMT(reply->error));
}

static void on_login(struct vault *v, const struct http_reply *r, const struct vault_reply *reply)
{
    char buf[1024];

    if (r->status != 200 || reply->token.raw.n == 0 || reply->token.raw.n > sizeof buf) {
        fail_reply(v, "the login", r, reply);
        return;
    }
    size_t n = json_unescape(reply->token.raw, buf);
    bool ok = token_take(v, slice_make(buf, n));
    secret_wipe(buf, sizeof buf);
    if (!ok) {
        key_source_fail(&v->base, "out of memory");
        return;
    }
    v->looked_up = true; /* the login told */
    token_lives(v, reply->token_s, reply->token_renewable);
    step_start(v, STEP_READ);
}

static void on_lookup(struct vault *v, const struct http_reply *r, const struct vault_reply *reply)
{
    /* A policy may forbid it: then the token is used as it is. */
    v->looked_up = true;
    if (r->status == 200 && reply->data.p != NULL) {
        int64_t ttl = vault_number(reply->data, "ttl");
        token_lives(v, ttl > 0 ? ttl : 0, vault_is_true(reply->data, "renewable"));
    }
    step_start(v, STEP_READ);
}

static void take_value(struct vault *v, struct slice text, const struct vault_reply *reply)
{
    bool lease = reply->lease_id[0] != '\0' && reply->lease_s > 0;

    snprintf(v->lease_id, sizeof v->lease_id, "%s", lease && reply->renewable ? reply->lease_id : "");
    v->lease_s = reply->lease_s;
    secret_free(v->text);
    v->text = v->lease_id[0] != '\0' ? secret_new(text.p, text.n) : NULL;
    if (v->text == NULL)
        v->lease_id[0] = '\0';
    key_source_done(&v->base, text, lease ? reply->lease_s : -1);
}

static void on_read(struct vault *v, const struct http_reply *r, const struct vault_reply *reply)
{
    const char *field = v->o->field;
    struct json_text t;

    if (r->status == 403 && v->o->role_id != NULL && !v->logged_in_anew) {
        v->logged_in_anew = true; /* the token may have been revoked */
        token_drop(v);
        step_start(v, STEP_LOGIN);
        return;
    }
    if (r->status != 200 || reply->data.p == NULL) {
        fail_reply(v, v->o->path, r, reply);
        return;
    }
    if (field == NULL && !vault_field(reply->data, "value", &t)) {
        take_value(v, reply->data, reply); /* AWS keys, say: all of it */
        return;
    }
    if (!vault_field(reply->data, field != NULL ? field : "value", &t)) {
        key_source_fail(&v->base, "the secret at %s has no field \"%s\"", v->o->path, field);
        return;
    }
    char *buf = private_alloc(t.raw.n + 1);
    if (buf == NULL) {
        key_source_fail(&v->base, "out of memory");
        return;
    }
    size_t n = json_unescape(t.raw, buf);
    take_value(v, slice_make(buf, n), reply);
    secret_wipe(buf, t.raw.n + 1);
    private_free(buf);
}

static void on_lease(struct vault *v, const struct http_reply *r, const struct vault_reply *reply)
{
    if (r->status != 200 || reply->lease_s <= 0) {
        v->lease_id[0] = '\0'; /* revoked, or past its longest life */
        step_start(v, STEP_READ);
        return;
    }
    if (reply->lease_s < v->lease_s / 2) { /* near the end of its longest life: the next is read now, while there is time to try again */
        v->lease_id[0] = '\0';
        step_start(v, STEP_READ);
        return;
    }
    key_source_done(&v->base, secret_view(v->text), reply->lease_s);
}

static void on_reply(void *user, const struct http_reply *r)
{
    static void (*const steps[])(struct vault *, const struct http_reply *, const struct vault_reply *) = {
        [STEP_LOGIN] = on_login, [STEP_LOOKUP] = on_lookup, [STEP_READ] = on_read, [STEP_RENEW_LEASE] = on_lease
    };
    struct vault *v = user;
    struct vault_reply reply;
    const char *why = "out of memory";
    struct arena *a = arena_new(4096);

    v->call = NULL;
    if (r->outcome != HTTP_REPLIED)
        key_source_fail(&v->base, "the vault could not be asked: %s", r->why);
    else if (a == NULL || vault_reply_parse(r->body, a, &reply, &why) != 0)
        key_source_fail(&v->base, "the vault answered %ld, and %s", r->status, why);
    else
        steps[v->step](v, r, &reply);
    arena_free(a);
}

static struct http_call *login_start(struct vault *v, char *why, size_t why_size)
{
    static const char *const names[] = { "role_id", "secret_id" };
    char path[256];
    size_t size, n;
    struct secret *id = origin_read(&v->o->secret_id, v->base.pool, why, why_size);
    struct http_call *call = NULL;

    if (id == NULL)
        return NULL;
    key_source_knows(&v->base, KNOWN_LOGIN, secret_view(id));
    const struct slice values[] = { slice_cstr(v->o->role_id), secret_view(id) };
    char *body = json_pairs(names, values, &size, &n);
    snprintf(path, sizeof path, "auth/%s/login", v->o->approle_mount != NULL ? v->o->approle_mount : "approle");
    if (body != NULL) {
        call = call_start(v, "POST", path, slice_make(body, n), on_reply, why, why_size);
        secret_wipe(body, size);
    }
    private_free(body);
    secret_free(id);
    return call;
}

static struct http_call *lease_renew(struct vault *v, char *why, size_t why_size)
{
    char body[400];
    int n = snprintf(body, sizeof body, "{\"lease_id\":\"%s\",\"increment\":%lld}", v->lease_id, (long long)v->lease_s);
    return call_start(v, "PUT", "sys/leases/renew", slice_make(body, (size_t)n), on_reply, why, why_size);
}

static void step_start(struct vault *v, enum step step)
{
    char why[200] = "out of memory";

    v->step = step;
    v->call = step == STEP_LOGIN    ? login_start(v, why, sizeof why)
              : step == STEP_LOOKUP ? call_start(v, "GET", "auth/token/lookup-self", SLICE_NONE, on_reply, why, sizeof why)
              : step == STEP_READ   ? call_start(v, "GET", v->o->path, SLICE_NONE, on_reply, why, sizeof why)
                                    : lease_renew(v, why, sizeof why);
    if (v->call == NULL)
        key_source_fail(&v->base, "the vault could not be asked: %s", why);
}

/* The token as it stands in its file now: it may have been rotated. False: the fetch has failed. */
static bool token_read(struct vault *v)
{
    char why[200];
    struct secret *t = origin_read(&v->o->token, v->base.pool, why, sizeof why);

    if (t == NULL) {
        key_source_fail(&v->base, "%s", why);
        return false;
    }
    bool ok = (v->token != NULL && secret_equal(v->token, secret_view(t))) || token_take(v, secret_view(t));
    secret_free(t);
    if (!ok)
        key_source_fail(&v->base, "out of memory");
    return ok;
}

static void fetch(struct key_source *s)
{
    struct vault *v = (struct vault *)s;

    v->logged_in_anew = false;
    if (v->token != NULL && v->token_until_mono_us <= clock_mono_us())
        token_drop(v);
    if (v->o->role_id == NULL && !token_read(v))
        return;
    step_start(v, v->token == NULL        ? STEP_LOGIN
                  : !v->looked_up         ? STEP_LOOKUP
                  : v->lease_id[0] != '\0' ? STEP_RENEW_LEASE
                                          : STEP_READ);
}

static void cancel(struct key_source *s)
{
    struct vault *v = (struct vault *)s;
    http_call_cancel(v->call);
    v->call = NULL;
}

static void vault_free(struct key_source *s)
{
    struct vault *v = (struct vault *)s;

    http_call_cancel(v->renew_call);
    if (s->loop != NULL)
        ev_timer_stop(s->loop, &v->renew);
    secret_free(v->token);
    secret_free(v->text);
    free(v);
}

static const struct key_source_ops ops = { .retries = true, .fetch = fetch, .cancel = cancel, .free = vault_free };

struct key_source *key_source_vault_new(const struct credential_vault *o)
{
    struct vault *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    v->base.ops = &ops;
    v->base.refresh_s = o->refresh_s > 0 ? o->refresh_s : REFRESH_S;
    v->o = o;
    v->token_until_mono_us = INT64_MAX;
    ev_timer_init(&v->renew, on_renew, 0., 0.);
    v->renew.data = v;
    return &v->base;
}
