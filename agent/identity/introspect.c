#include "identity/introspect.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/private.h"
#include "base/secret.h"
#include "identity/strict.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

enum { ENTRIES_MAX = 65536, WAITING_MAX = 1024, CALLS_MAX = 16, REPLY_MAX = 64 * 1024, DOWN_US = 1000000, HEADER_MAX = 4096 };

struct entry {
    UT_hash_handle hh;
    uint8_t digest[32];
    bool known, active, pending;
    int64_t exp_s, asked_us;          /* of the question under way */
    int64_t until_us, stale_until_us; /* how long the answer is good; how long it is used while there is no newer one */
    struct introspection *owner;
    struct entry *next;               /* in the queue */
    char *token;                      /* while pending */
    size_t token_size;
    struct http_call *call;           /* control thread */
};

struct introspection {
    struct identity_store *store;
    const struct identity_issuer *o;
    char header[HEADER_MAX]; /* control thread: Authorization */
    /* under the store's lock: */
    struct entry *entries;
    struct entry *queue, **queue_end;
    size_t waiting;          /* pending entries */
    int64_t down_until_us;   /* monotonic */
    bool retired;
    unsigned calls;          /* control thread */
};

/* ---- making ----------------------------------------------------------------------------------------------------------- */

/* As in a form (RFC 6749 2.3.1, appendix B). False when it does not fit. */
static bool put_form(char *to, size_t size, size_t *n, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
        if (*n + 4 > size)
            return false;
        *n += (size_t)snprintf(to + *n, size - *n, plain ? "%c" : "%%%02X", c);
    }
    return true;
}

static bool make_header(struct introspection *x, char *why, size_t why_size)
{
    char pair[2048];
    size_t n = 0;
    struct secret *secret = secret_from_file(x->o->introspection_secret_file, why, why_size);

    if (secret == NULL)
        return false;
    bool fits = put_form(pair, sizeof pair, &n, slice_cstr(x->o->introspection_client_id)) && n + 1 < sizeof pair;
    if (fits)
        pair[n++] = ':';
    fits = fits && put_form(pair, sizeof pair, &n, secret_view(secret));
    secret_free(secret);
    int at = snprintf(x->header, sizeof x->header, "Authorization: Basic ");
    if (fits)
        EVP_EncodeBlock((unsigned char *)x->header + at, (unsigned char *)pair, (int)n);
    else
        snprintf(why, why_size, "introspection: client_id and secret are too long");
    secret_wipe(pair, sizeof pair);
    return fits;
}

struct introspection *introspect_new(struct identity_store *s, size_t issuer, char *why, size_t why_size)
{
    struct introspection *x = private_calloc(1, sizeof *x); /* its header holds the secret */

    snprintf(why, why_size, "out of memory");
    if (x == NULL)
        return NULL;
    x->store = s;
    x->o = &s->options->issuers[issuer];
    x->queue_end = &x->queue;
    if (make_header(x, why, why_size))
        return x;
    introspect_free(x);
    return NULL;
}

/* Under the lock, or when nobody else is left. */
static void token_drop(struct entry *e)
{
    if (e->token == NULL)
        return;
    secret_wipe(e->token, e->token_size);
    private_free(e->token);
    e->token = NULL;
}

void introspect_free(struct introspection *x)
{
    struct entry *e, *next;

    if (x == NULL)
        return;
    HASH_ITER(hh, x->entries, e, next)
    {
        HASH_DEL(x->entries, e);
        token_drop(e);
        free(e);
    }
    secret_wipe(x->header, sizeof x->header);
    private_free(x);
}

/* ---- asking ----------------------------------------------------------------------------------------------------------- */

/* Under the lock. The oldest entry that nobody waits for makes room; uthash keeps the order of insertion. */
static struct entry *entry_add(struct introspection *x, const uint8_t digest[32])
{
    if (HASH_COUNT(x->entries) >= ENTRIES_MAX) {
        struct entry *old = x->entries;
        while (old != NULL && old->pending)
            old = old->hh.next;
        if (old == NULL)
            return NULL;
        HASH_DEL(x->entries, old);
        free(old);
    }
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    memcpy(e->digest, digest, sizeof e->digest);
    e->owner = x;
    HASH_ADD(hh, x->entries, digest, sizeof e->digest, e);
    return e;
}

/* Under the lock. */
static bool enqueue(struct introspection *x, struct entry *e, struct slice token, int64_t exp_s, int64_t now_us)
{
    e->token = private_alloc(token.n);
    if (e->token == NULL)
        return false;
    memcpy(e->token, token.p, token.n);
    e->token_size = token.n;
    e->exp_s = exp_s;
    e->asked_us = now_us;
    e->pending = true;
    e->next = NULL;
    *x->queue_end = e;
    x->queue_end = &e->next;
    x->waiting++;
    return true;
}

enum introspect_result introspect_ask(struct introspection *x, const uint8_t digest[32], struct slice token, int64_t exp_s, int64_t now_us,
                                      struct identity_verifier *v)
{
    enum introspect_result r = INTROSPECT_UNAVAILABLE;
    struct entry *e;

    pthread_mutex_lock(&x->store->lock);
    HASH_FIND(hh, x->entries, digest, 32, e);
    if (e != NULL && e->known && now_us < e->until_us) {
        r = e->active ? INTROSPECT_ACTIVE : INTROSPECT_INACTIVE;
        pthread_mutex_unlock(&x->store->lock);
        return r;
    }
    if (clock_mono_us() >= x->down_until_us && !x->retired && (e == NULL || !e->pending) && x->waiting < WAITING_MAX) {
        if (e == NULL)
            e = entry_add(x, digest);
        if (e != NULL && enqueue(x, e, token, exp_s, now_us))
            ev_async_send(x->store->loop, &x->store->wake);
    }
    if (e != NULL && e->pending && v != NULL) {
        v->waiting = true;
        r = INTROSPECT_WAIT;
    } else if (e != NULL && e->known && now_us < e->stale_until_us) {
        r = e->active ? INTROSPECT_ACTIVE : INTROSPECT_INACTIVE;
    }
    pthread_mutex_unlock(&x->store->lock);
    return r;
}

/* ---- the call --------------------------------------------------------------------------------------------------------- */

/* *active and *exp_s from the reply (section 2.2); NULL when it is one, else what is wrong with it. */
static const char *read_reply(const struct http_reply *r, bool *active, int64_t *exp_s)
{
    const char *why;

    if (r->outcome != HTTP_REPLIED)
        return r->why;
    if (r->status != 200)
        return "expected status 200";
    cJSON *doc = strict_json_object(r->body, (struct strict_limits){ .depth = 16, .members = 512 }, &why);
    if (doc == NULL)
        return why;
    const cJSON *a = strict_member(doc, "active"), *exp = strict_member(doc, "exp");
    why = cJSON_IsBool(a) ? NULL : "has no active: true or false";
    *active = cJSON_IsTrue(a);
    if (cJSON_IsNumber(exp) && exp->valuedouble < (double)*exp_s)
        *exp_s = exp->valuedouble > 0 ? (int64_t)exp->valuedouble : 0;
    cJSON_Delete(doc);
    return why;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Under the lock. Nothing is expected of it any more. */
static void settle(struct introspection *x, struct entry *e)
{
    e->call = NULL;
    e->pending = false;
    x->waiting--;
    token_drop(e);
}

/* Under the lock. The endpoint fails: those in the queue would only wait for the same. */
static void go_down(struct introspection *x)
{
    x->down_until_us = clock_mono_us() + DOWN_US;
    for (struct entry *e = x->queue; e != NULL; e = e->next)
        settle(x, e);
    x->queue = NULL;
    x->queue_end = &x->queue;
}

static void finish(struct entry *e, const struct http_reply *r)
{
    static struct log_gate gate;
    struct introspection *x = e->owner;
    int64_t exp_s = e->exp_s;
    bool active = false;
    unsigned held = 0;
    const char *why = read_reply(r, &active, &exp_s);

    x->calls--;
    if (why != NULL && log_gate_open(&gate, clock_mono_us(), 1, &held))
        LOG(LOG_LEVEL_WARN, "introspection_failed", LOG_CSTR("issuer", x->o->name), LOG_CSTR("why", why), LOG_INT("status", r->status),
            LOG_INT("suppressed", held));
    pthread_mutex_lock(&x->store->lock);
    settle(x, e);
    if (why == NULL) {
        e->known = true;
        e->active = active;
        e->until_us = least(e->asked_us + x->o->introspection_cache_s * 1000000, exp_s * 1000000);
        e->stale_until_us = least(e->until_us + x->o->introspection_stale_s * 1000000, exp_s * 1000000);
        x->down_until_us = 0;
    } else {
        go_down(x);
    }
    store_release(x->store);
    pthread_mutex_unlock(&x->store->lock);
}

static void on_reply(void *user, const struct http_reply *r)
{
    struct introspection *x = ((struct entry *)user)->owner;

    finish(user, r);
    introspect_run(x);
}

/* token=...&token_type_hint=access_token (section 2.1). A JWT's characters need no escaping. */
static void start_call(struct introspection *x, struct entry *e)
{
    static const char head[] = "token=", tail[] = "&token_type_hint=access_token";
    const char *const headers[] = { x->header, "Content-Type: application/x-www-form-urlencoded", "Accept: application/json" };
    char why[160] = "out of memory";
    size_t n = sizeof head - 1 + e->token_size + sizeof tail - 1;
    char *body = private_alloc(n);

    if (body != NULL) {
        memcpy(body, head, sizeof head - 1);
        memcpy(body + sizeof head - 1, e->token, e->token_size);
        memcpy(body + sizeof head - 1 + e->token_size, tail, sizeof tail - 1);
        struct http_request_options o = {
            .url = x->o->introspection_url, .headers = headers, .header_count = 3, .body = slice_make(body, n), .ca_file = x->o->ca_file,
            .allow_http = x->o->allow_http, .max_bytes = REPLY_MAX, .timeout_ms = x->o->fetch_timeout_ms, .done = on_reply, .user = e,
        };
        e->call = http_client_start(x->store->http, &o, why, sizeof why);
        secret_wipe(body, n);
        private_free(body);
    }
    x->calls++;
    if (e->call == NULL)
        finish(e, &(struct http_reply){ .outcome = HTTP_FAILED, .why = why });
}

void introspect_run(struct introspection *x)
{
    while (x->calls < CALLS_MAX) {
        pthread_mutex_lock(&x->store->lock);
        struct entry *e = x->queue;
        if (e != NULL && (x->queue = e->next) == NULL)
            x->queue_end = &x->queue;
        pthread_mutex_unlock(&x->store->lock);
        if (e == NULL)
            return;
        start_call(x, e);
    }
}

void introspect_retire(struct introspection *x)
{
    struct entry *e, *next;

    if (x == NULL)
        return;
    pthread_mutex_lock(&x->store->lock);
    x->retired = true;
    x->queue = NULL;
    x->queue_end = &x->queue;
    x->waiting = 0;
    HASH_ITER(hh, x->entries, e, next)
    {
        http_call_cancel(e->call);
        e->call = NULL;
        e->pending = false;
        token_drop(e);
    }
    pthread_mutex_unlock(&x->store->lock);
}
