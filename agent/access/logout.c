#include "access/logout.h"

#include "access/access_change.h"
#include "agent.h"
#include "decide/assess.h"
#include "base/clock.h"
#include "decide/decision_state.h"
#include "identity/revocation.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

enum { SEEN_MAX = 65536, LEEWAY_MAX_S = 600 };

struct seen {
    uint8_t id[16];
    int64_t until_s;
};

struct logout_memory {
    pthread_mutex_t lock;
    struct seen *list;
    size_t count, room;
};

struct logout_memory *logout_memory_new(void)
{
    struct logout_memory *m = calloc(1, sizeof *m);
    if (m != NULL)
        pthread_mutex_init(&m->lock, NULL);
    return m;
}

void logout_memory_free(struct logout_memory *m)
{
    if (m == NULL)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m->list);
    free(m);
}

static void id_of(const struct identity_logout *o, uint8_t id[16])
{
    uint8_t digest[32];
    EVP_MD_CTX *c = EVP_MD_CTX_new();

    if (c == NULL || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1 || EVP_DigestUpdate(c, o->issuer.p, o->issuer.n) != 1 || EVP_DigestUpdate(c, "", 1) != 1 ||
        EVP_DigestUpdate(c, o->token_id.p, o->token_id.n) != 1 || EVP_DigestFinal_ex(c, digest, NULL) != 1)
        abort(); /* SHA-256 of a few bytes fails for want of memory only */
    EVP_MD_CTX_free(c);
    memcpy(id, digest, 16);
}

/* Logouts are rare and remembered for minutes: going through all of them costs less than a table would. */
static void forget(struct logout_memory *m, const uint8_t id[16], int64_t now_s)
{
    size_t left = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->list[i].until_s > now_s && (id == NULL || memcmp(m->list[i].id, id, 16) != 0))
            m->list[left++] = m->list[i];
    m->count = left;
}

enum { FRESH, SEEN, FULL };

static int remember(struct logout_memory *m, const uint8_t id[16], int64_t until_s, int64_t now_s)
{
    int rc = FRESH;

    pthread_mutex_lock(&m->lock);
    forget(m, NULL, now_s);
    for (size_t i = 0; i < m->count && rc == FRESH; i++)
        rc = memcmp(m->list[i].id, id, 16) == 0 ? SEEN : FRESH;
    if (rc == FRESH && m->count == m->room) {
        size_t room = m->room ? m->room * 2 : 64;
        struct seen *more = room <= SEEN_MAX ? realloc(m->list, room * sizeof *more) : NULL;
        rc = more != NULL ? FRESH : FULL;
        m->list = more != NULL ? more : m->list;
        m->room = more != NULL ? room : m->room;
    }
    if (rc == FRESH) {
        memcpy(m->list[m->count].id, id, 16);
        m->list[m->count++].until_s = until_s;
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

/* ---- the request ------------------------------------------------------------------------------------------------------ */

bool logout_asked(const struct http_request *rq)
{
    return slice_eq_cstr(rq->path, "/tollgate/v1/backchannel-logout");
}

static enum identity_result refuse(struct refusal *no, int status, const char *code, const char *message)
{
    *no = refusal_make(status, status >= 500 ? "server_error" : "invalid_request_error", code, "logout", slice_cstr(message));
    if (status == 503)
        no->retry_after_s = 1;
    return IDENTITY_REFUSED;
}

enum identity_result logout_verify(struct decision *d, int64_t now_us, bool may_wait, struct refusal *no)
{
    const struct http_request *rq = &d->s.rq;
    static const char form[] = "application/x-www-form-urlencoded";
    struct slice token;

    if (!slice_eq_cstr(rq->method, "POST")) {
        *no = assess_wrong_method(SLICE_LIT("POST"), d->s.arena);
        return IDENTITY_REFUSED;
    }
    if (rq->content_type.n < sizeof form - 1 || strncasecmp(rq->content_type.p, form, sizeof form - 1) != 0)
        return refuse(no, 400, "invalid_logout_token", "A logout token comes in a form (application/x-www-form-urlencoded).");
    const char *why = identity_logout_form(rq->body, d->s.arena, &token);
    if (why != NULL)
        return refuse(no, 400, "invalid_logout_token", why);
    return identity_logout_verify(d->worker->verifier, token, now_us, may_wait, d->s.arena, &d->logout, no);
}

/* On the ledger's writer thread. */
static void on_change(void *user, enum ledger_result result, const struct ledger_access *change)
{
    struct decision *d = user;

    (void)change;
    if (result != LEDGER_OK)
        atomic_store(&d->logout_failed, true);
    if (atomic_fetch_sub(&d->logout_changes, 1) == 1)
        worker_committed(d->worker, d);
}

static void submit(struct decision *d, enum revocation_kind kind, struct slice value, bool sessionless)
{
    const struct identity_logout *o = &d->logout;
    struct slice actor = arena_printf(d->s.arena, "issuer %.*s", SLICE_FMT(o->issuer)),
                 detail = arena_printf(d->s.arena, "logout token %.*s", SLICE_FMT(o->token_id));
    struct ledger_access c = {
        .change = ACCESS_REVOKE, .kind = slice_cstr(revocation_kind_name(kind)), .issuer = o->issuer, .value = value,
        .origin = sessionless ? SLICE_LIT("session logout") : SLICE_LIT("logout"), .before_s = o->issued_s, .sessionless = sessionless,
        .expires_s = o->keep_until_s, .actor = actor, .action = SLICE_LIT("logout"), .detail = detail,
    };
    if (actor.p == NULL || detail.p == NULL || !access_change_submit(d->worker->agent, &c, ACCESS_DONE_ON_WRITER, on_change, d))
        on_change(d, LEDGER_FAILED, &c);
}

void logout_book(struct decision *d)
{
    const struct identity_logout *o = &d->logout;
    bool session = o->session.n > 0, subject = o->subject.n > 0;
    int64_t now_s = clock_wall_us() / 1000000;
    uint8_t id[16];

    id_of(o, id);
    int seen = remember(d->worker->agent->access->logouts, id, o->expires_s + LEEWAY_MAX_S, now_s);
    if (seen != FRESH) {
        decision_refuse(d, seen == SEEN ? 400 : 503, seen == SEEN ? "invalid_logout_token" : "too_many_logouts", "logout",
                        seen == SEEN ? SLICE_LIT("This logout token was used before (jti).")
                                     : SLICE_LIT("Too many logouts at once; try again in a moment."));
        return;
    }
    d->stage = STAGE_LOGOUT;
    /* The frame goes back to its connection: what is still needed is in the arena. */
    d->s.rq = (struct http_request){ .id = arena_copy(d->s.arena, d->s.rq.id) };
    atomic_store(&d->logout_changes, session + subject);
    if (session)
        submit(d, REVOKED_SESSION, o->session, false);
    if (subject)
        submit(d, REVOKED_SUBJECT, o->subject, session);
}

bool logout_booked(struct decision *d, struct refusal *no)
{
    struct logout_memory *m = d->worker->agent->access->logouts;
    uint8_t id[16];

    if (!atomic_load(&d->logout_failed))
        return true;
    id_of(&d->logout, id); /* so that the issuer's next try is heard */
    pthread_mutex_lock(&m->lock);
    forget(m, id, clock_wall_us() / 1000000);
    pthread_mutex_unlock(&m->lock);
    (void)refuse(no, 503, "ledger_unavailable", "The gateway cannot record this logout; try again in a moment.");
    return false;
}
