/* Where an issuer's keys come from: a watched file, an address, or an address found by OpenID Connect Discovery 1.0.
 *
 * All of it runs on the control thread's loop. One fetch at a time for each issuer; what it brings goes to the store. */
#include "identity/store.h"

#include "base/clock.h"
#include "base/file_read.h"
#include "base/file_watch.h"
#include "base/http_client.h"
#include "base/log.h"
#include "identity/strict.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { DOCUMENT_MAX = 512 * 1024, REFRESH_MIN_S = 60, RETRY_FIRST_S = 1, RETRY_MAX_S = 60, REDISCOVER_S = 3600, REDIRECTS = 2 };

struct source {
    struct identity_store *store;
    size_t index;
    const struct identity_issuer *o;
    ev_timer timer; /* next refresh or retry */
    struct file_watch *file;
    struct http_call *call;
    char *jwks_uri; /* found by discovery */
    int64_t discovered_us;
    char *etag;
    int64_t retry_s; /* 0: the last fetch was good */
};

/* Spread over 90 to 100 % of the time, so that a fleet started together does not ask together. */
static double jittered(int64_t seconds)
{
    uint16_t r = 0;
    if (RAND_bytes((unsigned char *)&r, sizeof r) != 1)
        r = 0;
    return (double)seconds * (1.0 - 0.1 * r / UINT16_MAX);
}

static void schedule(struct source *src, int64_t seconds)
{
    double after = jittered(seconds);

    atomic_store(&src->store->issuers[src->index].next_in_ms, (int64_t)(after * 1000));
    ev_timer_stop(src->store->loop, &src->timer);
    ev_timer_set(&src->timer, after, 0.);
    ev_timer_start(src->store->loop, &src->timer);
}

static void fetch_failed(struct source *src, const char *what, const char *why, long status)
{
    LOG(LOG_LEVEL_WARN, "identity_keys_unavailable", LOG_CSTR("issuer", src->o->name), LOG_CSTR("at", what), LOG_CSTR("why", why),
        LOG_INT("status", status));
    src->retry_s = src->retry_s == 0 ? RETRY_FIRST_S : src->retry_s * 2 > RETRY_MAX_S ? RETRY_MAX_S : src->retry_s * 2;
    if (src->o->jwks_file == NULL)
        schedule(src, src->retry_s);
    store_fetch_failed(src->store, src->index);
}

static void log_keys(const struct source *src, const struct jwk_set *set)
{
    size_t left_out = 0;
    for (int f = JWK_GOOD + 1; f < JWK_FAULTS; f++) {
        left_out += set->left_out[f];
        if (set->left_out[f] > 0)
            LOG(LOG_LEVEL_INFO, "identity_keys_left_out", LOG_CSTR("issuer", src->o->name),
                LOG_CSTR("why", jwk_fault_name((enum jwk_fault)f)), LOG_INT("keys", set->left_out[f]));
    }
    LOG(set->count > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "identity_keys", LOG_CSTR("issuer", src->o->name),
        LOG_INT("usable", set->count), LOG_INT("left_out", left_out));
}

static bool keys_arrived(struct source *src, struct slice text, char *why, size_t why_size)
{
    struct jwk_set *set = jwk_set_parse(text, why, why_size);
    if (set == NULL)
        return false;
    struct issuer_state *st = &src->store->issuers[src->index];
    if (st->keys == NULL || memcmp(st->keys->digest, set->digest, sizeof set->digest) != 0) /* only this thread replaces it */
        log_keys(src, set);
    src->retry_s = 0;
    store_fetch_good(src->store, src->index, set, clock_wall_us());
    return true;
}

/* ---- a file ---------------------------------------------------------------------------------------------------------- */

static bool read_file(struct source *src, char *why, size_t why_size)
{
    const char *path = src->o->jwks_file;
    char fault[160];
    struct stat st;
    size_t n;
    bool good = false;

    store_fetch_started(src->store, src->index);
    char *text = file_read(path, DOCUMENT_MAX, &n, &st, fault, sizeof fault);
    if (text != NULL && (st.st_mode & S_IWOTH)) /* whoever writes it can be anybody */
        snprintf(fault, sizeof fault, "writable for everyone; chmod o-w it");
    else if (text != NULL)
        good = keys_arrived(src, slice_make(text, n), fault, sizeof fault);
    if (!good)
        snprintf(why, why_size, "jwks_file %s: %s", path, fault);
    free(text);
    return good;
}

static void refresh_file(void *user)
{
    struct source *src = user;
    char why[256];
    if (!read_file(src, why, sizeof why))
        fetch_failed(src, "jwks_file", why, 0);
}

/* ---- the network ------------------------------------------------------------------------------------------------------ */

static void start_call(struct source *src, const char *url, http_done_fn *done, const char *etag)
{
    char condition[300], why[160];
    const char *headers[2] = { "Accept: application/json", condition };
    struct http_request_options o = {
        .url = url, .headers = headers, .header_count = 1, .ca_file = src->o->ca_file, .allow_http = src->o->allow_http,
        .max_redirects = REDIRECTS, .max_bytes = DOCUMENT_MAX, .timeout_ms = src->o->fetch_timeout_ms, .done = done, .user = src,
    };
    if (etag != NULL && (size_t)snprintf(condition, sizeof condition, "If-None-Match: %s", etag) < sizeof condition)
        o.header_count = 2;
    src->call = http_client_start(src->store->http, &o, why, sizeof why);
    if (src->call == NULL)
        fetch_failed(src, url, why, 0);
}

static const char *keys_address(const struct source *src)
{
    return src->o->jwks_url ? src->o->jwks_url : src->jwks_uri;
}

/* The lifetime the reply declares, but never longer than configured, nor shorter than a minute (or what is configured, if less): a
 * provider that forbids caching is not asked all the time, one that promises a year is asked all the same. */
static void schedule_refresh(struct source *src, const struct http_reply *r)
{
    int64_t declared = http_reply_max_age_s(r), s = src->o->refresh_s;
    if (declared >= 0 && declared < s)
        s = declared > REFRESH_MIN_S ? declared : s < REFRESH_MIN_S ? s : REFRESH_MIN_S;
    schedule(src, s);
}

static void on_keys(void *user, const struct http_reply *r)
{
    struct source *src = user;
    char why[160] = "expected status 200";

    src->call = NULL;
    if (r->outcome == HTTP_REPLIED && r->status == 304 && src->etag != NULL) {
        src->retry_s = 0;
        schedule_refresh(src, r);
        store_fetch_good(src->store, src->index, NULL, clock_wall_us());
        return;
    }
    if (r->outcome != HTTP_REPLIED || r->status != 200 || !keys_arrived(src, r->body, why, sizeof why)) {
        src->discovered_us = 0; /* the keys may have moved */
        fetch_failed(src, "jwks", r->outcome == HTTP_REPLIED ? why : r->why, r->status);
        return;
    }
    free(src->etag);
    src->etag = r->etag.n ? strndup(r->etag.p, r->etag.n) : NULL;
    schedule_refresh(src, r);
}

/* The document must be about this issuer (OpenID Connect Discovery 1.0, 4.3). NULL: fine, *uri to be freed. */
static const char *read_discovery(const struct source *src, struct slice body, char **uri)
{
    const char *fault;
    cJSON *doc = strict_json_object(body, (struct strict_limits){ .depth = 8, .members = 512 }, &fault);
    if (doc == NULL)
        return fault;
    const char *issuer = strict_string(doc, "issuer"), *found = strict_string(doc, "jwks_uri");
    if (issuer == NULL || strcmp(issuer, src->o->issuer) != 0)
        fault = "names another issuer than the one configured";
    else if (found == NULL)
        fault = "has no jwks_uri";
    else if ((*uri = strdup(found)) == NULL)
        fault = "out of memory";
    cJSON_Delete(doc);
    return fault;
}

static void on_discovery(void *user, const struct http_reply *r)
{
    struct source *src = user;
    char *uri = NULL;

    src->call = NULL;
    if (r->outcome != HTTP_REPLIED || r->status != 200) {
        fetch_failed(src, "discovery", r->outcome == HTTP_REPLIED ? "expected status 200" : r->why, r->status);
        return;
    }
    const char *fault = read_discovery(src, r->body, &uri);
    if (fault != NULL) {
        fetch_failed(src, "discovery", fault, r->status);
        return;
    }
    if (src->jwks_uri == NULL || strcmp(src->jwks_uri, uri) != 0) {
        free(src->etag); /* another document */
        src->etag = NULL;
    }
    free(src->jwks_uri);
    src->jwks_uri = uri;
    src->discovered_us = clock_wall_us();
    start_call(src, uri, on_keys, src->etag);
}

static void discover(struct source *src)
{
    char url[2048];
    size_t n = strlen(src->o->issuer);

    if (src->o->discovery_url != NULL) {
        start_call(src, src->o->discovery_url, on_discovery, NULL);
        return;
    }
    if (n > 0 && src->o->issuer[n - 1] == '/')
        n--; /* Discovery 1.0, 4.1 */
    if ((size_t)snprintf(url, sizeof url, "%.*s/.well-known/openid-configuration", (int)n, src->o->issuer) >= sizeof url)
        fetch_failed(src, "discovery", "the issuer is too long", 0);
    else
        start_call(src, url, on_discovery, NULL);
}

void source_fetch(struct source *src)
{
    if (src->o->jwks_file != NULL) {
        refresh_file(src);
        return;
    }
    if (src->call != NULL)
        return;
    ev_timer_stop(src->store->loop, &src->timer);
    store_fetch_started(src->store, src->index);
    int64_t age = clock_wall_us() - src->discovered_us;
    if (src->o->jwks_url != NULL || (src->jwks_uri != NULL && age >= 0 && age < (int64_t)REDISCOVER_S * 1000000))
        start_call(src, keys_address(src), on_keys, src->etag);
    else
        discover(src);
}

static void on_due(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    source_fetch(w->data);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

struct source *source_new(struct identity_store *s, size_t i, const struct source *like)
{
    struct source *src = calloc(1, sizeof *src);

    if (src == NULL)
        return NULL;
    src->store = s;
    src->index = i;
    src->o = &s->options->issuers[i];
    ev_timer_init(&src->timer, on_due, 0., 0.);
    src->timer.data = src;
    if (like != NULL && s->issuers[i].keys != NULL) { /* an ETag without its keys would leave us without keys */
        src->etag = like->etag ? strdup(like->etag) : NULL;
        src->jwks_uri = like->jwks_uri ? strdup(like->jwks_uri) : NULL;
        src->discovered_us = src->jwks_uri ? like->discovered_us : 0;
    }
    return src;
}

bool source_start(struct source *src, char *why, size_t why_size)
{
    if (src->o->jwks_file == NULL) {
        source_fetch(src);
        return true;
    }
    src->file = file_watch_new(src->store->loop, src->o->jwks_file, refresh_file, src); /* before reading: no change is missed */
    if (src->file == NULL) {
        snprintf(why, why_size, "out of memory");
        return false;
    }
    return read_file(src, why, why_size);
}

void source_free(struct source *src)
{
    if (src == NULL)
        return;
    http_call_cancel(src->call);
    ev_timer_stop(src->store->loop, &src->timer);
    file_watch_free(src->file);
    free(src->jwks_uri);
    free(src->etag);
    free(src);
}
