#include "manage/signin.h"

#include "agent.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/secret.h"
#include "base/log.h"
#include "config/config_console.h"
#include "console/oidc.h"
#include "credential/credential.h"
#include "identity/identity.h"
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_S = 3600, RETRY_S = 5, WHY = 256, CALL_MS = 8000, REPLY_MAX = 256 * 1024 };

enum job_kind { JOB_AUTHORIZE, JOB_EXCHANGE, JOB_SIGN_OUT };

/* A console thread's wish. It and the control thread hold a reference each. */
struct job {
    struct agent_task task;
    struct signin *s;
    struct job *next;              /* in the setup's list */
    unsigned references;           /* under the lock */
    bool done;                     /* under the lock; what follows `result` is read after it */
    enum job_kind kind;
    struct oidc_attempt attempt;
    char *code, *iss;
    struct arena *arena;
    struct http_call *call;
    struct slice token;
    enum console_outcome result;
    struct console_person who;
    char url[OIDC_URL_MAX], why[WHY];
};

/* One configuration's. Control thread. */
struct setup {
    struct signin *s;
    struct runtime *runtime;
    const struct config_console *config; /* NULL: no console */
    const struct config_issuer *issuer;
    struct arena *arena;
    struct identity_store *identity;
    struct identity_verifier *verifier;
    struct credential_store *secret;
    char redirect_uri[512];
    struct oidc_provider provider;
    int64_t known_us, failed_us;   /* monotonic; 0: never */
    char failed_why[WHY];
    struct http_call *discovery;
    struct job *jobs;              /* waiting for discovery, a reply or keys */
};

struct signin {
    struct agent *agent;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool stopped;                   /* under the lock: nobody waits any more */
    struct setup *setup, *prepared; /* control thread */
};

/* ---- jobs --------------------------------------------------------------------------------------------------------- */

static void job_unref(struct job *j)
{
    pthread_mutex_lock(&j->s->lock);
    bool last = --j->references == 0;
    pthread_mutex_unlock(&j->s->lock);
    if (!last)
        return;
    arena_free(j->arena);
    if (j->code != NULL)
        secret_wipe(j->code, strlen(j->code));
    secret_wipe(&j->attempt, sizeof j->attempt);
    free(j->code);
    free(j->iss);
    free(j);
}

static void job_finish(struct job *j, enum console_outcome result, const char *why)
{
    struct setup *u = j->s->setup;

    for (struct job **at = &u->jobs; *at != NULL; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            break;
        }
    if (j->call != NULL) {
        http_call_cancel(j->call);
        j->call = NULL;
    }
    if (why != NULL)
        snprintf(j->why, sizeof j->why, "%s", why);
    pthread_mutex_lock(&j->s->lock);
    j->result = result;
    j->done = true;
    pthread_cond_broadcast(&j->s->done);
    pthread_mutex_unlock(&j->s->lock);
    job_unref(j);
}

static bool copy(char *out, size_t size, struct slice from)
{
    if (from.n >= size || (from.n > 0 && memchr(from.p, '\0', from.n) != NULL))
        return false;
    if (from.n > 0)
        memcpy(out, from.p, from.n);
    out[from.n] = '\0';
    return true;
}

static bool person_take(struct job *j, const struct config_console *k, const struct identity *i)
{
    struct console_person *p = &j->who;

    if (!copy(p->subject, sizeof p->subject, i->subject) || !copy(p->user, sizeof p->user, i->user) ||
        !copy(p->team, sizeof p->team, i->team) || !copy(p->organization, sizeof p->organization, i->organization))
        return false;
    p->expires_s = i->expires_s;
    bool may_view = k->viewers_count > 0 ? slice_eq_cstr(i->application, CONSOLE_ROLE_VIEWER) : true;
    p->role = slice_eq_cstr(i->application, CONSOLE_ROLE_ADMIN) ? CONSOLE_ADMIN
              : may_view && p->team[0] != '\0'                  ? CONSOLE_VIEWER
                                                                : CONSOLE_NOBODY;
    return true;
}

static void job_verify(struct job *j, bool may_wait)
{
    struct setup *u = j->s->setup;
    struct refusal no;
    struct identity who;
    struct slice header = arena_printf(j->arena, "Bearer %.*s", SLICE_FMT(j->token));
    struct http_request rq = { .authorization = header };

    if (header.p == NULL) {
        job_finish(j, CONSOLE_UNAVAILABLE, "out of memory");
        return;
    }
    switch (identity_verify(u->verifier, &rq, clock_wall_us(), may_wait, j->arena, &who, &no)) {
    case IDENTITY_WAIT: return; /* on_keys calls again */
    case IDENTITY_REFUSED:
        job_finish(j, no.status == 503 ? CONSOLE_UNAVAILABLE : CONSOLE_REFUSED, no.reason);
        return;
    case IDENTITY_OK: break;
    }
    if (!oidc_token_belongs(j->token, u->config->client_id, j->attempt.nonce, j->why, sizeof j->why))
        job_finish(j, CONSOLE_REFUSED, NULL);
    else if (!person_take(j, u->config, &who))
        job_finish(j, CONSOLE_REFUSED, "a name in the ID token is too long");
    else if (j->who.role == CONSOLE_NOBODY)
        job_finish(j, CONSOLE_FORBIDDEN, "no role for this account, or no team");
    else
        job_finish(j, CONSOLE_SIGNED_IN, NULL);
}

/* Keys were fetched, or not: those who waited are decided now. */
static void on_keys(void *user)
{
    struct setup *u = user;

    for (struct job *j = u->jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (j->token.n > 0)
            job_verify(j, false);
    }
}

static void on_token(void *user, const struct http_reply *r)
{
    struct job *j = user;

    j->call = NULL;
    if (r->outcome != HTTP_REPLIED) {
        job_finish(j, CONSOLE_UNAVAILABLE, r->why);
        return;
    }
    j->token = oidc_token_reply(r->status, r->body, j->arena, j->why, sizeof j->why);
    if (j->token.n == 0)
        job_finish(j, r->status >= 500 ? CONSOLE_UNAVAILABLE : CONSOLE_REFUSED, NULL);
    else
        job_verify(j, true);
}

static void job_exchange(struct job *j)
{
    struct setup *u = j->s->setup;
    struct credential_snapshot *secrets = u->secret != NULL ? credential_acquire(u->secret) : NULL;
    struct credential_pick pick = { .header = SLICE_NONE };
    char *header = NULL;

    if (secrets != NULL && credential_pick(secrets, slice_cstr(CONSOLE_SECRET), clock_mono_us(), &pick) != CREDENTIAL_PICKED) {
        credential_release(secrets);
        job_finish(j, CONSOLE_UNAVAILABLE, "console.client_secret has no value");
        return;
    }
    if (j->iss != NULL ? strcmp(j->iss, u->issuer->issuer) != 0 : u->provider.names_itself) {
        credential_release(secrets);
        job_finish(j, CONSOLE_REFUSED, "the answer is another issuer's (iss)");
        return;
    }
    char *form = oidc_token_form(&u->provider, u->config->client_id, pick.header, u->redirect_uri, slice_cstr(j->code), j->attempt.verifier,
                                 j->arena, &header);
    credential_release(secrets);
    const char *headers[] = { "Content-Type: application/x-www-form-urlencoded", "Accept: application/json", header };
    if (form != NULL) {
        struct http_request_options o = {
            .url = u->provider.token_endpoint, .headers = headers, .header_count = header[0] != '\0' ? 3 : 2, .body = slice_cstr(form),
            .ca_file = u->issuer->ca_file, .allow_http = u->issuer->allow_http, .max_bytes = REPLY_MAX, .timeout_ms = CALL_MS,
            .done = on_token, .user = j,
        };
        j->call = http_client_start(j->s->agent->http, &o, j->why, sizeof j->why);
        secret_wipe(form, strlen(form));
        secret_wipe(header, strlen(header));
    }
    if (j->call == NULL)
        job_finish(j, CONSOLE_UNAVAILABLE, form == NULL ? "out of memory" : NULL);
}

static void job_sign_out(struct job *j)
{
    struct setup *u = j->s->setup;
    char id[3 * 512 + 1];
    const char *at = u->provider.end_session_endpoint;

    oidc_percent(slice_cstr(u->config->client_id), id);
    int n = snprintf(j->url, sizeof j->url, "%s%cclient_id=%s", at, strchr(at, '?') != NULL ? '&' : '?', id);
    job_finish(j, at[0] != '\0' && n < (int)sizeof j->url ? CONSOLE_SIGNED_IN : CONSOLE_UNAVAILABLE, NULL);
}

/* The provider is known: on with it. */
static void job_go_on(struct job *j)
{
    struct setup *u = j->s->setup;

    if (j->kind == JOB_EXCHANGE)
        job_exchange(j);
    else if (j->kind == JOB_SIGN_OUT)
        job_sign_out(j);
    else if (oidc_authorization_url(&u->provider, u->config->client_id, u->config->scope, u->redirect_uri, &j->attempt, j->url))
        job_finish(j, CONSOLE_SIGNED_IN, NULL);
    else
        job_finish(j, CONSOLE_UNAVAILABLE, "the address of the sign-in page is too long");
}

/* ---- discovery ------------------------------------------------------------------------------------------------------ */

static void discovery_failed(struct setup *u, const char *why)
{
    u->failed_us = clock_mono_us();
    snprintf(u->failed_why, sizeof u->failed_why, "discovery of %.100s: %.120s", u->issuer->issuer, why);
    while (u->jobs != NULL)
        job_finish(u->jobs, CONSOLE_UNAVAILABLE, u->failed_why);
}

static void on_discovery(void *user, const struct http_reply *r)
{
    struct setup *u = user;
    struct oidc_provider found;
    char why[WHY];

    u->discovery = NULL;
    if (r->outcome != HTTP_REPLIED || r->status != 200) {
        snprintf(why, sizeof why, "%s", r->outcome != HTTP_REPLIED ? r->why : "not answered with 200");
        discovery_failed(u, why);
        return;
    }
    if (!oidc_discovery_parse(r->body, u->issuer->issuer, u->issuer->allow_http, &found, why, sizeof why)) {
        discovery_failed(u, why);
        return;
    }
    u->provider = found;
    u->known_us = clock_mono_us();
    for (struct job *j = u->jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (j->call == NULL && j->token.n == 0)
            job_go_on(j);
    }
}

static void discovery_start(struct setup *u)
{
    char url[OIDC_URL_MAX], why[WHY];
    size_t n = strlen(u->issuer->issuer);

    if (u->issuer->discovery != NULL)
        snprintf(url, sizeof url, "%s", u->issuer->discovery);
    else
        snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)(n > 0 && u->issuer->issuer[n - 1] == '/' ? n - 1 : n),
                 u->issuer->issuer);
    struct http_request_options o = { .url = url, .ca_file = u->issuer->ca_file, .allow_http = u->issuer->allow_http,
                                      .max_bytes = REPLY_MAX, .timeout_ms = CALL_MS, .done = on_discovery, .user = u };
    u->discovery = http_client_start(u->s->agent->http, &o, why, sizeof why);
    if (u->discovery == NULL)
        discovery_failed(u, why);
}

/* On the control thread. */
static void job_begin(struct agent *a, struct agent_task *task)
{
    struct job *j = (struct job *)task;
    struct setup *u = j->s->setup;
    int64_t now = clock_mono_us();

    (void)a;
    j->next = u->jobs;
    u->jobs = j;
    if (j->s->stopped || u->config == NULL)
        job_finish(j, CONSOLE_UNAVAILABLE, u->config == NULL ? "the configuration has no console any more" : "the agent is stopping");
    else if (u->known_us != 0 && now - u->known_us < KEEP_S * INT64_C(1000000))
        job_go_on(j);
    else if (u->discovery == NULL && u->failed_us != 0 && now - u->failed_us < RETRY_S * INT64_C(1000000))
        job_finish(j, CONSOLE_UNAVAILABLE, u->failed_why);
    else if (u->discovery == NULL)
        discovery_start(u);
}

/* ---- configurations ------------------------------------------------------------------------------------------------- */

static void setup_free(struct setup *u)
{
    if (u == NULL)
        return;
    http_call_cancel(u->discovery);
    identity_verifier_free(u->verifier);
    identity_store_retire(u->identity);
    credential_store_free(u->secret);
    arena_free(u->arena);
    runtime_unref(u->runtime);
    free(u);
}

static bool secret_open(struct setup *u, struct credential_store *previous, char *why, size_t why_size)
{
    if (u->config->client_secret == NULL)
        return true;
    const struct credential_options *o = config_console_secret(u->runtime->config, u->arena);
    u->secret = credential_store_new(o, 1, previous, why, why_size);
    return u->secret != NULL && credential_store_start(u->secret, u->s->agent->loop, u->s->agent->http) == 0;
}

static struct setup *setup_new(struct signin *s, struct runtime *r, char *why, size_t why_size)
{
    struct setup *u = calloc(1, sizeof *u);

    snprintf(why, why_size, "out of memory");
    if (u == NULL)
        return NULL;
    u->s = s;
    u->runtime = r != NULL ? runtime_ref(r) : NULL;
    u->config = r != NULL ? r->config->console : NULL;
    if (u->config == NULL)
        return u;
    u->issuer = config_console_issuer(r->config);
    u->arena = arena_new(16384);
    if (u->arena == NULL || !secret_open(u, s->setup != NULL ? s->setup->secret : NULL, why, why_size))
        goto fail;
    snprintf(u->redirect_uri, sizeof u->redirect_uri, "%s/callback", u->config->url);
    struct identity_options o = config_console_identity(r->config, u->arena);
    u->identity = identity_store_new(&o, s->agent->loop, s->agent->http, r->identity, why, why_size);
    if (u->identity == NULL)
        goto fail;
    u->verifier = identity_verifier_new(u->identity, s->agent->loop, on_keys, u);
    if (u->verifier == NULL)
        goto fail;
    return u;
fail:
    setup_free(u);
    return NULL;
}

struct signin *signin_new(struct agent *a)
{
    struct signin *s = calloc(1, sizeof *s);
    pthread_condattr_t attr;
    char why[WHY];

    if (s == NULL)
        return NULL;
    s->agent = a;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->done, &attr);
    pthread_condattr_destroy(&attr);
    s->setup = setup_new(s, NULL, why, sizeof why);
    if (s->setup == NULL) {
        signin_free(s);
        return NULL;
    }
    return s;
}

bool signin_prepare(struct signin *s, struct runtime *r, char *why, size_t why_size)
{
    setup_free(s->prepared);
    s->prepared = setup_new(s, r, why, why_size);
    return s->prepared != NULL;
}

static void jobs_end(struct signin *s, const char *why)
{
    while (s->setup != NULL && s->setup->jobs != NULL)
        job_finish(s->setup->jobs, CONSOLE_UNAVAILABLE, why);
}

void signin_commit(struct signin *s)
{
    if (s->prepared == NULL)
        return;
    jobs_end(s, "the configuration has changed");
    struct setup *old = s->setup;
    s->setup = s->prepared;
    s->prepared = NULL;
    setup_free(old);
}

void signin_stop(struct signin *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_cond_broadcast(&s->done);
    pthread_mutex_unlock(&s->lock);
    jobs_end(s, "the agent is stopping");
}

void signin_free(struct signin *s)
{
    if (s == NULL)
        return;
    setup_free(s->prepared);
    setup_free(s->setup);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- console threads -------------------------------------------------------------------------------------------------- */

static struct job *job_new(struct signin *s, enum job_kind kind, const struct oidc_attempt *attempt)
{
    struct job *j = calloc(1, sizeof *j);

    if (j == NULL)
        return NULL;
    j->s = s;
    j->kind = kind;
    j->references = 2;
    j->task.run = job_begin;
    if (attempt != NULL)
        j->attempt = *attempt;
    j->arena = arena_new(16384);
    if (j->arena == NULL) {
        free(j);
        return NULL;
    }
    return j;
}

/* CONSOLE_UNAVAILABLE when it takes too long; the job then ends by itself. */
static enum console_outcome job_wait(struct job *j)
{
    struct timespec until;
    enum console_outcome result = CONSOLE_UNAVAILABLE;

    agent_post(j->s->agent, &j->task);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SIGNIN_WAIT_S;
    pthread_mutex_lock(&j->s->lock);
    while (!j->done && !j->s->stopped && pthread_cond_timedwait(&j->s->done, &j->s->lock, &until) != ETIMEDOUT)
        ;
    if (j->done)
        result = j->result;
    pthread_mutex_unlock(&j->s->lock);
    return result;
}

static void why_take(const struct job *j, enum console_outcome result, char *why, size_t why_size)
{
    if (result == CONSOLE_SIGNED_IN)
        return;
    pthread_mutex_lock(&j->s->lock);
    snprintf(why, why_size, "%s", j->done ? j->why : "no answer in time");
    pthread_mutex_unlock(&j->s->lock);
}

static bool url_ask(struct job *j, char *url, size_t size, char *why, size_t why_size)
{
    enum console_outcome result = job_wait(j);
    bool ok = result == CONSOLE_SIGNED_IN && snprintf(url, size, "%s", j->url) < (int)size;

    why_take(j, result, why, why_size);
    job_unref(j);
    return ok;
}

bool signin_authorize(void *user, const struct oidc_attempt *attempt, char *url, size_t size, char *why, size_t why_size)
{
    struct job *j = job_new(user, JOB_AUTHORIZE, attempt);

    if (j == NULL) {
        snprintf(why, why_size, "out of memory");
        return false;
    }
    return url_ask(j, url, size, why, why_size);
}

bool signin_sign_out(void *user, char *url, size_t size)
{
    struct job *j = job_new(user, JOB_SIGN_OUT, NULL);
    char why[WHY];

    return j != NULL && url_ask(j, url, size, why, sizeof why);
}

enum console_outcome signin_exchange(void *user, const char *code, const char *iss, const struct oidc_attempt *attempt,
                                     struct console_person *who, char *why, size_t why_size)
{
    struct job *j = job_new(user, JOB_EXCHANGE, attempt);

    snprintf(why, why_size, "out of memory");
    if (j == NULL)
        return CONSOLE_UNAVAILABLE;
    j->code = strdup(code);
    j->iss = iss != NULL ? strdup(iss) : NULL;
    if (j->code == NULL || (iss != NULL && j->iss == NULL)) {
        j->references = 1;
        job_unref(j);
        return CONSOLE_UNAVAILABLE;
    }
    enum console_outcome result = job_wait(j);
    if (result == CONSOLE_SIGNED_IN)
        *who = j->who;
    why_take(j, result, why, why_size);
    job_unref(j);
    return result;
}
