#include "manage/explain.h"

#include "access/access_change.h"
#include "admin/rpc_put.h"
#include "agent.h"
#include "decide/assess_route.h"
#include "base/clock.h"
#include "base/secret.h"
#include "manage/booking.h"
#include "budget/budget.h"
#include "dialect/dialect.h"
#include "access/gateway_keys.h"
#include "access/permission.h"
#include "runtime.h"

#include "base/snapshot.h"
#include "identity/revocation.h"
#include <string.h>
#include <openssl/evp.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>

enum { ARENA_FIRST = 16384, CREDENTIAL_TEXT = IDENTITY_TOKEN_MAX + 1, CERTIFICATE_TEXT = 3 * 16384 };

struct wish {
    char credential[CREDENTIAL_TEXT], model[512], endpoint[32], address[64], input[24], at[24];
    char certificate[CERTIFICATE_TEXT]; /* DER in hexadecimal; empty: none */
};

static void put_flag(msgpack_packer *p, const char *name, bool v)
{
    rpc_put_name(p, name);
    v ? msgpack_pack_true(p) : msgpack_pack_false(p);
}

static void put_refusal(msgpack_packer *p, const struct refusal *no)
{
    rpc_put_int(p, "status", no->status);
    rpc_put_text(p, "code", slice_cstr(no->code));
    rpc_put_text(p, "reason", slice_cstr(no->reason));
    rpc_put_text(p, "message", no->message);
}

/* Nobody waits for an issuer here: a key that would have to be fetched first is said to be missing. */
static bool identify(struct agent *a, struct assessment *s, int64_t now_us)
{
    struct identity_verifier *v = identity_verifier_new(s->runtime->identity, NULL, NULL, NULL);

    if (v == NULL) {
        s->no = refusal_make(503, "server_error", "out_of_memory", "out_of_memory", SLICE_LIT("out of memory"));
        return false;
    }
    identity_verifier_revocations(v, &a->access->revocations);
    identity_verifier_keys(v, &a->access->keys, gateway_keys_secret(a));
    bool good = identity_verify(v, &s->rq, now_us, false, s->arena, &s->who, &s->no) == IDENTITY_OK;
    identity_verifier_free(v);
    return good;
}

/* The entry that refuses, and how it is taken back. */
static struct slice revoked_hint(struct agent *a, struct assessment *s, int64_t now_us)
{
    struct snapshot_reader reader = { .cell = &a->access->revocations };
    struct slice sent = s->rq.api_key, out = SLICE_NONE;
    uint8_t digest[32];

    if (EVP_Digest(sent.p, sent.n, digest, NULL, EVP_sha256(), NULL) != 1)
        return SLICE_NONE;
    const struct revocation *r = revocation_find(revocation_list_of(snapshot_current(&reader)), &s->who, sent.n > 0 ? digest : NULL, now_us / 1000000);
    if (r != NULL)
        out = arena_printf(s->arena, "the entry is \"%s %.*s\"%s%.*s; tollgatectl revocations says since when and by whom; to take it back: "
                           "tollgatectl unrevoke %s '%.*s'%s%.*s", revocation_kind_name(r->kind), SLICE_FMT(r->value), r->issuer.n > 0 ? " of " : "",
                           SLICE_FMT(r->issuer), revocation_kind_name(r->kind), SLICE_FMT(r->value), r->issuer.n > 0 ? " --issuer " : "",
                           SLICE_FMT(r->issuer));
    snapshot_reader_clear(&reader);
    return out;
}

static struct slice issuers_hint(struct assessment *s, int64_t now_us, const char *head, bool keys)
{
    struct identity_issuer_state st;
    struct slice out = slice_cstr(head);

    for (size_t i = 0; identity_store_state(s->runtime->identity, i, now_us, &st); i++) {
        out = arena_printf(s->arena, "%.*s%s%s", SLICE_FMT(out), i > 0 ? ", " : " ", st.issuer);
        if (keys)
            out = arena_printf(s->arena, "%.*s (%zu, fetched %" PRId64 " s ago)", SLICE_FMT(out), st.keys,
                               st.fetched_us > 0 ? (now_us - st.fetched_us) / 1000000 : -1);
    }
    return out;
}

/* What an operator would want to know besides; a client is not told. */
static struct slice hint(struct agent *a, struct assessment *s, int64_t now_us)
{
    const char *reason = s->no.reason != NULL ? s->no.reason : "";

    if (strcmp(reason, "revoked") == 0)
        return revoked_hint(a, s, now_us);
    if (strcmp(reason, "token_issuer") == 0)
        return issuers_hint(s, now_us, "accepted (issuers):", false);
    if (strcmp(reason, "token_key") == 0 || strcmp(reason, "issuer_unavailable") == 0)
        return issuers_hint(s, now_us, "keys known of each issuer:", true);
    return SLICE_NONE;
}

static void put_identity(msgpack_packer *p, struct agent *a, struct assessment *s, int64_t now_us, bool good)
{
    const struct identity *w = &s->who;

    rpc_put_name(p, "identity");
    msgpack_pack_map(p, good ? 13 : 6);
    put_flag(p, "accepted", good);
    if (!good) {
        put_refusal(p, &s->no);
        rpc_put_text(p, "hint", hint(a, s, now_us));
        return;
    }
    rpc_put_text(p, "issuer", w->issuer);
    rpc_put_text(p, "subject", w->subject);
    rpc_put_text(p, "organization", w->organization);
    rpc_put_text(p, "team", w->team);
    rpc_put_text(p, "user", w->user);
    rpc_put_text(p, "application", w->application);
    rpc_put_text(p, "cost_center", w->cost_center);
    rpc_put_text(p, "key", w->key_id);
    rpc_put_text(p, "certificate", w->certificate);
    rpc_put_text(p, "certificate_rule", w->certificate_rule);
    rpc_put_name(p, "groups");
    msgpack_pack_array(p, w->group_count);
    for (size_t i = 0; i < w->group_count; i++)
        msgpack_pack_str_with_body(p, w->groups[i].n > 0 ? w->groups[i].p : "", w->groups[i].n);
    rpc_put_int(p, "expires_us", w->expires_s * 1000000);
}

/* Every rule, in the file's order: whom it concerns and what of it does not hold. */
static void put_rules(msgpack_packer *p, const struct assessment *s, int64_t now_us)
{
    struct access_look l;
    unsigned count = 0;

    while (permission_look(s, now_us, count, &l))
        count++;
    rpc_put_name(p, "rules");
    msgpack_pack_array(p, count);
    for (unsigned i = 0; i < count && permission_look(s, now_us, i, &l); i++) {
        msgpack_pack_map(p, 5);
        rpc_put_int(p, "at", i);
        rpc_put_text(p, "rule", slice_cstr(l.rule));
        put_flag(p, "concerns", l.concerns);
        rpc_put_text(p, "fails", slice_cstr(l.fails != NULL ? l.fails : ""));
        rpc_put_text(p, "wants", l.wants);
    }
}

static void put_policy(msgpack_packer *p, struct assessment *s, int64_t now_us, bool *allowed)
{
    struct access_decision d;

    *allowed = permission_decide(s, now_us, &d);
    rpc_put_name(p, "policy");
    msgpack_pack_map(p, 6);
    put_flag(p, "allowed", *allowed);
    rpc_put_text(p, "rule", *allowed && d.rule == NULL ? SLICE_LIT("(no access rules are configured)") : slice_cstr(d.rule));
    rpc_put_text(p, "reason", slice_cstr(d.reason));
    rpc_put_text(p, "message", d.message);
    rpc_put_int(p, "max_output", d.max_output);
    put_rules(p, s, now_us);
}

static void put_target(msgpack_packer *p, const char *name, const struct route_target *t)
{
    rpc_put_name(p, name);
    msgpack_pack_map(p, 2);
    rpc_put_text(p, "provider", t != NULL ? t->target.group : SLICE_NONE);
    rpc_put_text(p, "model", t != NULL ? t->target.model : SLICE_NONE);
}

/* With the prompt's size, where it is told, as if each target had counted it so. */
static bool route_find_for(struct assessment *s)
{
    const struct runtime_target *t;
    bool found = assess_route_start(s, s->ask.model);

    while (found && s->estimate.input >= 0 && (t = assess_to_count(s)) != NULL)
        found = assess_counted(s, t, &s->estimate);
    return found;
}

static void put_route(msgpack_packer *p, struct assessment *s)
{
    bool found = route_find_for(s);

    rpc_put_name(p, "route");
    msgpack_pack_map(p, found ? 3 : 5);
    put_flag(p, "found", found);
    if (!found) {
        put_refusal(p, &s->no);
        s->choice = (struct route_choice){ .alias = NULL };
        return;
    }
    put_target(p, "primary", s->choice.primary);
    put_target(p, "fallback", s->again ? NULL : s->choice.fallback);
}

/* The limits that would be asked, with what is left of each. */
static void put_limits(msgpack_packer *p, struct agent *a, struct assessment *s, int64_t now_us)
{
    struct budget_subjects subjects = { .who = &s->who, .alias = s->ask.model };
    struct budget_view *views = NULL;
    size_t n = 0;

    if (s->choice.primary != NULL)
        subjects.primary = &s->choice.primary->target;
    if (s->choice.fallback != NULL)
        subjects.fallback = &s->choice.fallback->target;
    if (budget_list_for(a->budget, &subjects, now_us, clock_mono_us(), s->arena, &views, &n) != 0)
        n = 0;
    rpc_put_name(p, "limits");
    msgpack_pack_array(p, n);
    for (size_t i = 0; i < n; i++) {
        msgpack_pack_map(p, 8);
        rpc_put_text(p, "limit", slice_cstr(views[i].state.limit));
        rpc_put_text(p, "subject", views[i].subject);
        rpc_put_text(p, "window", slice_cstr(views[i].state.window));
        rpc_put_text(p, "unit", slice_cstr(budget_unit_name(views[i].state.unit)));
        rpc_put_text(p, "action", slice_cstr(views[i].action));
        rpc_put_int(p, "amount", views[i].state.amount);
        rpc_put_int(p, "left", views[i].state.left);
        rpc_put_int(p, "reset_us", views[i].state.reset_us);
    }
}

static const char *wish_read(const msgpack_object *params, struct wish *w)
{
    const struct {
        char *to;
        size_t size;
    } texts[] = { { w->credential, sizeof w->credential }, { w->model, sizeof w->model }, { w->endpoint, sizeof w->endpoint },
                  { w->address, sizeof w->address }, { w->input, sizeof w->input }, { w->at, sizeof w->at }, { w->certificate, sizeof w->certificate } };

    for (uint32_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!booking_text(params, i, texts[i].to, texts[i].size))
            return i == 0 ? "the token is missing or longer than 16384 bytes" : "a parameter is missing or too long";
    return NULL;
}

/* As if HAProxy had verified it: whether its authority is one of client_ca is HAProxy's to say. */
static bool request_make(const struct wish *w, struct assessment *s)
{
    long n = 0;
    unsigned char *der = w->certificate[0] != '\0' ? OPENSSL_hexstr2buf(w->certificate, &n) : NULL;

    s->rq = (struct http_request){ .api_key = slice_cstr(w->credential), .client_ip = slice_cstr(w->address) };
    if (w->certificate[0] == '\0')
        return true;
    s->rq.certificate = der != NULL ? arena_copy(s->arena, slice_make((char *)der, (size_t)n)) : SLICE_NONE;
    s->rq.certificate_used = true;
    OPENSSL_free(der);
    return s->rq.certificate.p != NULL;
}

static const char *explain(struct agent *a, const struct wish *w, msgpack_packer *p)
{
    struct assessment s = { .arena = arena_new(ARENA_FIRST), .runtime = agent_runtime(a) };
    int64_t now_us = clock_wall_us(), at_us = strtoll(w->at, NULL, 10);
    bool allowed = false;
    const char *why = NULL;

    s.prices = runtime_prices(s.runtime, now_us)->table;
    if (s.arena == NULL) {
        why = "out of memory";
    } else if (!request_make(w, &s)) {
        why = "the certificate is no hexadecimal text, or memory is out";
    } else if (!dialect_endpoint_from_name(slice_cstr(w->endpoint), &s.ask.endpoint)) {
        why = "there is no such endpoint; allowed: chat, responses, completions, embeddings, messages, passthrough";
    } else {
        s.ask.model = slice_cstr(w->model);
        s.ask.max_output = -1;
        s.ask.choices = 1;
        s.credentials = credential_acquire(s.runtime->credentials);
        s.estimate.input = s.estimate.input_bound = strtoll(w->input, NULL, 10);
        bool known = identify(a, &s, now_us);
        msgpack_pack_map(p, known ? 4 : 1);
        put_identity(p, a, &s, now_us, known);
        if (known) {
            put_policy(p, &s, at_us > 0 ? at_us : now_us, &allowed);
            put_route(p, &s);
            put_limits(p, a, &s, now_us);
        }
    }
    credential_release(s.credentials);
    arena_free(s.arena);
    runtime_unref(s.runtime);
    return why;
}

const char *explain_request(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct wish *w = calloc(1, sizeof *w);
    const char *why = w != NULL ? wish_read(params, w) : "out of memory";

    if (why == NULL)
        why = explain(user, w, p);
    if (w != NULL)
        secret_wipe(w, sizeof *w);
    free(w);
    return why;
}
