#include "ledger/read.h"

#include "ledger/schema.h"

#include <stdlib.h>

struct ledger_reader {
    sqlite3 *db;
};

struct ledger_reader *ledger_reader_open(const char *file, char *why, size_t why_size)
{
    struct ledger_reader *r = calloc(1, sizeof *r);
    if (r && !(r->db = schema_open_other(file, true, why, why_size))) {
        free(r);
        return NULL;
    }
    return r;
}

void ledger_reader_close(struct ledger_reader *r)
{
    if (!r)
        return;
    sqlite3_close(r->db);
    free(r);
}

const char *ledger_reader_error(const struct ledger_reader *r)
{
    return sqlite3_errmsg(r->db);
}

/* Columns in the order of the statement; NULL reads as 0 or empty. */
struct columns {
    sqlite3_stmt *s;
    int at;
};

static struct slice text(struct columns *c)
{
    const char *p = (const char *)sqlite3_column_text(c->s, c->at);
    return slice_make(p, (size_t)sqlite3_column_bytes(c->s, c->at++));
}

static int64_t integer(struct columns *c)
{
    return sqlite3_column_int64(c->s, c->at++);
}

/* NULL reads as -1, "unknown". */
static int64_t known(struct columns *c)
{
    bool null = sqlite3_column_type(c->s, c->at) == SQLITE_NULL;
    int64_t v = integer(c);
    return null ? -1 : v;
}

static struct ledger_who who(struct columns *c)
{
    struct ledger_who w;
    w.organization = text(c);
    w.team = text(c);
    w.user = text(c);
    w.application = text(c);
    w.cost_center = text(c);
    w.subject = text(c);
    w.issuer = text(c);
    return w;
}

static struct ledger_target target(struct columns *c)
{
    struct ledger_target t;
    t.group = text(c);
    t.provider = text(c);
    t.model = text(c);
    t.key = text(c);
    return t;
}

static struct token_usage usage(struct columns *c)
{
    struct token_usage u = { .input = 0 };
    u.input = integer(c);
    u.input_cached = integer(c);
    u.input_cache_write = integer(c);
    u.input_cache_write_1h = integer(c);
    u.output = integer(c);
    u.output_reasoning = integer(c);
    u.input_audio = integer(c);
    u.output_audio = integer(c);
    return u;
}

#define WHO "w.organization, w.team, w.user_name, w.application, w.cost_center, w.subject, w.issuer"
#define USAGE(t)                                                                                                       \
    t ".input, " t ".input_cached, " t ".input_cache_write, " t ".input_cache_write_1h, " t ".output, " t                \
      ".output_reasoning, " t ".input_audio, " t ".output_audio"

#define TOKENS(t)                                                                                                      \
    "coalesce(" t "input, 0) + coalesce(" t "input_cached, 0) + coalesce(" t "input_cache_write, 0) + coalesce(" t "input_cache_write_1h, 0) + coalesce(" \
    t "output, 0) + coalesce(" t "output_reasoning, 0) + coalesce(" t "input_audio, 0) + coalesce(" t "output_audio, 0)"

/* ---- requests ---------------------------------------------------------------------------------------------------- */

#define KNOWN_NOW "coalesce((SELECT known_by FROM correction_row WHERE request = r.id ORDER BY id DESC LIMIT 1), r.known_by)"
#define REQUEST                                                                                                        \
    "SELECT r.id, r.request_id, r.started_us, " WHO ", r.endpoint, r.alias, r.stream, r.state, r.deny_reason, r.http_status,"  \
    " p.grp, p.provider, p.model, p.key_name, f.grp, f.provider, f.model, f.key_name, r.input_counted, r.input_bound, r.exactness, r.output_ceiling,"  \
    " r.choices, r.hold_nano, r.saved_nano, r.price_version, r.body_bytes, r.identity_us, r.tokens_us, r.budget_us,"    \
    " r.budget_left_nano, r.charged_as, r.images, r.images_out,"                                                                      \
    " r.settled_us, r.known_by, r.outcome, s.grp, s.provider, s.model, s.key_name, " USAGE("r") ", r.cost_nano, r.provider_cost_nano,"    \
    " r.ttft_us, r.tpot_ns, r.total_us, r.attempts, r.fallback, r.response_bytes, r.commit_us, r.provider_request_id," \
    " (SELECT sum(cost_nano) FROM correction_row WHERE request = r.id), (SELECT sum(" TOKENS("") ") FROM correction_row WHERE request = r.id)," \
    " (SELECT max(booked_us) FROM correction_row WHERE request = r.id), " KNOWN_NOW

#define JOINS                                                                                                          \
    " JOIN who AS w ON w.id = r.who LEFT JOIN target AS p ON p.id = r.plan LEFT JOIN target AS f ON f.id = r.plan_fallback" \
    " LEFT JOIN target AS s ON s.id = r.served"

static void read_decision(struct columns *c, struct ledger_decision *d)
{
    d->id = integer(c);
    d->request_id = text(c);
    d->started_us = integer(c);
    d->who = who(c);
    d->endpoint = (enum endpoint)integer(c);
    d->alias = text(c);
    d->stream = integer(c) != 0;
    d->state = (enum ledger_state)integer(c);
    d->deny_reason = text(c);
    d->http_status = (int)integer(c);
    d->primary = target(c);
    d->fallback = target(c);
    d->input_tokens = known(c);
    d->input_bound = known(c);
    d->exactness = (enum exactness)integer(c);
    d->output_ceiling = known(c);
    d->choices = known(c);
    d->hold_nano = integer(c);
    d->saved_nano = integer(c);
    d->price_version = integer(c);
    d->body_bytes = known(c);
    d->identity_us = (int32_t)known(c);
    d->tokens_us = (int32_t)known(c);
    d->budget_us = (int32_t)known(c);
    d->budget_left_nano = known(c);
    d->charged_as = text(c);
    d->images = integer(c);
    d->images_out = integer(c);
}

static void read_settlement(struct columns *c, struct ledger_settlement *t)
{
    t->settled_us = integer(c);
    t->known_by = (enum known_by)integer(c);
    t->outcome = text(c);
    t->served = target(c);
    t->usage = usage(c);
    t->cost_nano = integer(c);
    t->provider_cost_nano = known(c);
    t->ttft_us = known(c);
    t->tpot_ns = known(c);
    t->total_us = known(c);
    t->attempts = (int32_t)integer(c);
    t->fallback = integer(c) != 0;
    t->response_bytes = known(c);
    t->commit_us = (int32_t)known(c);
    t->provider_request_id = text(c);
}

static void read_row(struct columns *c, struct ledger_row *row)
{
    *row = (struct ledger_row){ .settlement = { .known_by = KNOWN_OPEN } };
    read_decision(c, &row->decision);
    if (row->decision.state == LEDGER_OPEN)
        return;
    read_settlement(c, &row->settlement);
    row->corrected_nano = integer(c);
    row->corrected_tokens = integer(c);
    row->corrected_us = integer(c);
    row->known_now = (enum known_by)integer(c);
    row->settlement.id = row->decision.id;
    row->settlement.price_version = row->decision.price_version;
    if (row->decision.state == LEDGER_SETTLED) {
        row->settlement.http_status = row->decision.http_status;
        row->decision.http_status = 0;
    }
}

typedef bool read_fn(struct columns *c, void *fn, void *user);

/* Runs `sql` with integer parameters and hands each row to `each`. The callback comes as a pointer to its pointer. */
static int read_with(struct ledger_reader *r, const char *sql, const int64_t *parameters, read_fn *each, void *fn, void *user)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    if (rc != SQLITE_OK)
        return -1;
    for (int i = 0; i < sqlite3_bind_parameter_count(s); i++)
        sqlite3_bind_int64(s, i + 1, parameters[i]);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        struct columns c = { s, 0 };
        if (!each(&c, fn, user)) {
            rc = SQLITE_DONE;
            break;
        }
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int read_all(struct ledger_reader *r, const char *sql, int64_t parameter, read_fn *each, void *fn, void *user)
{
    return read_with(r, sql, &parameter, each, fn, user);
}

static bool each_row(struct columns *c, void *fn, void *user)
{
    struct ledger_row row;
    read_row(c, &row);
    return (*(ledger_row_fn **)fn)(user, &row);
}

int ledger_read_open(struct ledger_reader *r, ledger_row_fn *fn, void *user)
{
    return read_all(r, REQUEST " FROM request_row AS r INDEXED BY request_open" JOINS " WHERE r.state = 0 ORDER BY r.id", 0, each_row, &fn, user);
}

int ledger_read_recent(struct ledger_reader *r, int64_t since_us, ledger_row_fn *fn, void *user)
{
    return read_all(r, REQUEST " FROM request_row AS r INDEXED BY request_started" JOINS " WHERE r.started_us >= ?1 ORDER BY r.started_us, r.id",
                    since_us, each_row, &fn, user);
}

int ledger_read_page(struct ledger_reader *r, const struct ledger_page *p, ledger_row_fn *fn, void *user)
{
    return read_with(r, REQUEST " FROM request_row AS r INDEXED BY request_started" JOINS " WHERE (r.started_us, r.id) > (?1, ?2)"
                     " AND (r.started_us >= ?3 OR r.settled_us >= ?3) ORDER BY r.started_us, r.id LIMIT ?4",
                     (const int64_t[]){ p->after_us, p->after_id, p->since_us, p->rows }, each_row, &fn, user);
}

static bool each_correction(struct columns *c, void *fn, void *user)
{
    struct ledger_correction k = { .id = integer(c) };
    k.booked_us = integer(c);
    k.reason = text(c);
    k.known_by = (enum known_by)integer(c);
    k.usage = usage(c);
    k.cost_nano = integer(c);
    k.price_version = integer(c);
    return (*(ledger_correction_fn **)fn)(user, &k);
}

int ledger_read_corrections(struct ledger_reader *r, int64_t request, ledger_correction_fn *fn, void *user)
{
    return read_all(r, "SELECT c.request, c.booked_us, c.reason, c.known_by, " USAGE("c") ", c.cost_nano, c.price_version FROM correction_row AS c"
                       " WHERE c.request = ?1 ORDER BY c.id", request, each_correction, &fn, user);
}

int ledger_read_bounded(struct ledger_reader *r, int64_t since_us, ledger_row_fn *fn, void *user)
{
    return read_all(r, REQUEST " FROM request_row AS r INDEXED BY request_bounded" JOINS " WHERE r.known_by = 3 AND r.started_us >= ?1 AND "
                    KNOWN_NOW " = 3 ORDER BY r.started_us", since_us, each_row, &fn, user);
}

int ledger_read_unsent(struct ledger_reader *r, int64_t since_us, ledger_row_fn *fn, void *user)
{
    return read_all(r, REQUEST " FROM request_row AS r INDEXED BY request_unsent" JOINS " WHERE r.known_by = 4 AND r.attempts = 0"
                    " AND r.started_us >= ?1 AND r.state = 1 AND coalesce(r.http_status, 0) <> 200 ORDER BY r.started_us", since_us, each_row, &fn, user);
}

/* ---- roll-ups ---------------------------------------------------------------------------------------------------- */

static bool each_slot(struct columns *c, void *fn, void *user)
{
    struct ledger_slot slot = { .start_us = integer(c) * 1000000 };
    slot.who = who(c);
    slot.target = target(c);
    slot.settled = integer(c);
    slot.denied = integer(c);
    slot.corrections = integer(c);
    slot.usage = usage(c);
    slot.cost_nano = integer(c);
    slot.saved_nano = integer(c);
    return (*(ledger_slot_fn **)fn)(user, &slot);
}

#define SLOT_FIGURES                                                                                                   \
    ", t.grp, t.provider, t.model, t.key_name, u.settled, u.denied, u.corrections, " USAGE("u") ", u.cost_nano, u.saved_nano"

int ledger_read_slots(struct ledger_reader *r, int64_t since_us, ledger_slot_fn *fn, void *user)
{
    /* Two arms in one order: the roll-up is read along its key, only what is newer than it gets sorted. */
    return read_all(r, "SELECT u.slot, " WHO SLOT_FIGURES " FROM rollup_row AS u JOIN who AS w ON w.id = u.who"
                       " LEFT JOIN target AS t ON t.id = u.target WHERE u.slot >= (?1 + 999999) / 1000000"
                       " UNION ALL SELECT u.second / 900 * 900, " WHO SLOT_FIGURES " FROM unrolled AS u JOIN who AS w ON w.id = u.who"
                       " LEFT JOIN target AS t ON t.id = u.target WHERE u.second / 900 * 900 >= (?1 + 999999) / 1000000 ORDER BY 1",
                    since_us, each_slot, &fn, user);
}

static bool each_alias_slot(struct columns *c, void *fn, void *user)
{
    struct ledger_alias_slot slot = { .start_us = integer(c) * 1000000 };
    slot.who = who(c);
    slot.target = target(c);
    slot.alias = text(c);
    slot.settled = integer(c);
    slot.tokens = integer(c);
    slot.cost_nano = integer(c);
    return (*(ledger_alias_slot_fn **)fn)(user, &slot);
}

int ledger_read_alias_slots(struct ledger_reader *r, int64_t since_us, ledger_alias_slot_fn *fn, void *user)
{
    return read_all(r, "SELECT u.slot, " WHO ", t.grp, t.provider, t.model, t.key_name, u.alias, sum(u.settled), sum(u.tokens), sum(u.cost_nano) FROM ("
                       "SELECT started_us / 900000000 * 900 AS slot, who, coalesce(served, plan, 0) AS target, coalesce(charged_as, alias) AS alias,"
                       " 1 AS settled, " TOKENS("") " AS tokens, cost_nano FROM request_row WHERE state = 1 AND started_us >= ?1"
                       " UNION ALL SELECT c.account_us / 900000000 * 900, q.who, coalesce(q.served, q.plan, 0), coalesce(q.charged_as, q.alias), 0, "
                       TOKENS("c.") ", c.cost_nano FROM correction_row AS c JOIN request_row AS q ON q.id = c.request WHERE c.account_us >= ?1"
                       " UNION ALL SELECT slot, who, target, alias, settled, tokens, cost_nano FROM archived_alias WHERE slot >= (?1 + 999999) / 1000000"
                       ") AS u JOIN who AS w ON w.id = u.who LEFT JOIN target AS t ON t.id = u.target GROUP BY u.slot, u.who, u.target, u.alias ORDER BY 1",
                    since_us, each_alias_slot, &fn, user);
}

/* ---- what was learned --------------------------------------------------------------------------------------------- */

static bool each_learned(struct columns *c, void *fn, void *user)
{
    struct ledger_learned l = { .provider = text(c) };
    l.model = text(c);
    l.shape = (unsigned)integer(c);
    l.size = (unsigned)integer(c);
    l.observations = integer(c);
    l.agreed = integer(c);
    l.p01_ppm = integer(c);
    l.median_ppm = integer(c);
    l.p99_ppm = integer(c);
    l.max_ppm = integer(c);
    l.histogram = text(c);
    l.updated_us = integer(c);
    return (*(ledger_learned_fn **)fn)(user, &l);
}

int ledger_read_learned(struct ledger_reader *r, ledger_learned_fn *fn, void *user)
{
    return read_all(r, "SELECT provider, model, shape, size, observations, agreed, p01_ppm, median_ppm, p99_ppm, max_ppm, histogram,"
                       " updated_us FROM token_learned ORDER BY provider, model, shape, size", 0, each_learned, &fn, user);
}

/* ---- access ------------------------------------------------------------------------------------------------------- */

static bool each_revocation(struct columns *c, void *fn, void *user)
{
    struct ledger_revocation r = { .kind = text(c) };
    r.issuer = text(c);
    r.value = text(c);
    r.origin = text(c);
    r.before_s = integer(c);
    r.sessionless = integer(c) != 0;
    r.expires_s = integer(c);
    r.revoked_us = integer(c);
    r.actor = text(c);
    r.note = text(c);
    return (*(ledger_revocation_fn **)fn)(user, &r);
}

int ledger_read_revocations(struct ledger_reader *r, ledger_revocation_fn *fn, void *user)
{
    return read_all(r, "SELECT kind, issuer, value, origin, before_s, sessionless, expires_s, revoked_us, actor, note FROM revocation"
                       " ORDER BY kind, issuer, value, origin", 0, each_revocation, &fn, user);
}

/* False: it has not the length of a hash. */
static bool hash(struct columns *c, uint8_t out[32])
{
    const void *p = sqlite3_column_blob(c->s, c->at);
    bool whole = sqlite3_column_bytes(c->s, c->at++) == 32;
    if (whole)
        memcpy(out, p, 32);
    return whole;
}

static bool each_key(struct columns *c, void *fn, void *user)
{
    struct ledger_key_row k = { .id = text(c) };
    k.key.name = text(c);
    if (!hash(c, k.key.hash))
        return true; /* nobody's key */
    k.key.has_previous = hash(c, k.key.previous_hash);
    k.key.previous_until_s = integer(c);
    k.created_us = integer(c);
    k.rotated_us = integer(c);
    k.expires_s = integer(c);
    k.key.who.organization = text(c);
    k.key.who.team = text(c);
    k.key.who.user = text(c);
    k.key.who.application = text(c);
    k.key.who.cost_center = text(c);
    k.key.groups = text(c);
    k.key.models = text(c);
    k.actor = text(c);
    k.key.endpoints = text(c);
    k.key.budget = text(c);
    k.key.secret = text(c);
    return (*(ledger_key_fn **)fn)(user, &k);
}

int ledger_read_keys(struct ledger_reader *r, ledger_key_fn *fn, void *user)
{
    return read_all(r, "SELECT id, name, hash, previous_hash, previous_until_s, created_us, rotated_us, expires_s, organization, team,"
                       " user_name, application, cost_center, groups, models, actor, endpoints, budget, secret FROM gateway_key ORDER BY id", 0, each_key, &fn, user);
}

/* ---- circuit breakers ------------------------------------------------------------------------------------------- */

static bool each_route(struct columns *c, void *fn, void *user)
{
    struct ledger_route row = { .group = text(c) };
    row.model = text(c);
    row.state = text(c);
    row.reason = text(c);
    row.drained = integer(c) != 0;
    row.open_until_us = integer(c);
    row.openings = integer(c);
    row.ttft_us = integer(c);
    row.tpot_ns = integer(c);
    row.plain_us = integer(c);
    row.output_tokens = integer(c);
    row.updated_us = integer(c);
    return (*(ledger_route_fn **)fn)(user, &row);
}

int ledger_read_routes(struct ledger_reader *r, ledger_route_fn *fn, void *user)
{
    return read_all(r, "SELECT grp, model, state, reason, drained, open_until_us, openings, ttft_us, tpot_ns, plain_us, output_tokens,"
                       " updated_us FROM route_state ORDER BY grp, model", 0, each_route, &fn, user);
}

static bool each_alert(struct columns *c, void *fn, void *user)
{
    struct ledger_alert row = { .event = text(c) };
    row.limit = text(c);
    row.unit = text(c);
    row.subject = text(c);
    row.percent = (int)integer(c);
    row.at_us = integer(c);
    row.body = text(c);
    return (*(ledger_alert_fn **)fn)(user, &row);
}

int ledger_read_alerts(struct ledger_reader *r, ledger_alert_fn *fn, void *user)
{
    return read_all(r, "SELECT event, limit_name, unit, subject, percent, at_us, body FROM alert WHERE state = 'pending' ORDER BY id", 0,
                    each_alert, &fn, user);
}

/* ---- prices ------------------------------------------------------------------------------------------------------ */

static bool each_version(struct columns *c, void *fn, void *user)
{
    struct ledger_price_version v = { .id = integer(c) };
    v.hash = text(c);
    v.source = text(c);
    v.valid_from_us = integer(c);
    v.imported_us = integer(c);
    v.active = integer(c) != 0;
    return (*(ledger_price_version_fn **)fn)(user, &v);
}

int ledger_read_price_versions(struct ledger_reader *r, ledger_price_version_fn *fn, void *user)
{
    return read_all(r, "SELECT v.id, v.hash, v.source, y.valid_from_us, y.imported_us, y.id = (SELECT max(id) FROM price_validity)"
                       " FROM price_validity AS y JOIN price_version AS v ON v.id = y.version ORDER BY y.id", 0, each_version, &fn, user);
}

/* The rows of one model follow each other, by tier: it is handed on when the next one begins. */
struct gathering {
    struct model_price m;
    char *names;
    size_t size;
    bool full, ended, failed;
    ledger_price_fn *fn;
    void *user;
};

static bool hand_on(struct gathering *g)
{
    bool more = !g->full || g->fn(g->user, &g->m);
    g->full = false;
    g->ended = g->ended || !more;
    return more;
}

static bool begin_model(struct gathering *g, struct slice provider, struct slice model)
{
    size_t need = provider.n + model.n;
    if (need > g->size) {
        char *names = realloc(g->names, need);
        if (!names) {
            g->failed = true;
            return false;
        }
        g->names = names;
        g->size = need;
    }
    if (provider.n)
        memcpy(g->names, provider.p, provider.n);
    if (model.n)
        memcpy(g->names + provider.n, model.p, model.n);
    g->m = (struct model_price){ .provider = slice_make(g->names, provider.n), .model = slice_make(g->names + provider.n, model.n) };
    g->full = true;
    return true;
}

static bool each_price(struct columns *c, void *fn, void *user)
{
    struct gathering *g = user;
    (void)fn;
    struct slice provider = text(c), model = text(c);
    int64_t tier = integer(c), above = integer(c);
    struct price_rates rates;
    for (int k = 0; k < PRICE_KINDS; k++)
        rates.pico[k] = integer(c);
    if (tier > 0) {
        if (g->m.tier_count < PRICE_TIERS)
            g->m.tiers[g->m.tier_count++] = (struct price_tier){ .above = above, .rates = rates };
        return true;
    }
    if (!hand_on(g) || !begin_model(g, provider, model))
        return false;
    g->m.base = rates;
    g->m.request_pico = integer(c);
    g->m.published = (unsigned)integer(c);
    g->m.status = (enum price_status)integer(c);
    g->m.overridden = integer(c) != 0;
    g->m.context = integer(c);
    g->m.input_limit = integer(c);
    g->m.output_limit = integer(c);
    g->m.image_pico = integer(c);
    g->m.image_out_pico = integer(c);
    g->m.image_token_pico = integer(c);
    return true;
}

int ledger_read_prices(struct ledger_reader *r, int64_t version, ledger_price_fn *fn, void *user)
{
    struct gathering g = { .fn = fn, .user = user };
    int rc = read_all(r, "SELECT p.provider, p.model, p.tier, p.above, " USAGE("p") ", p.request_pico, p.published, p.status, p.overridden,"
                         " p.context, p.input_limit, p.output_limit, p.image_pico, p.image_out_pico, p.image_token_pico FROM price AS p WHERE p.version = ?1 ORDER BY p.provider, p.model, p.tier",
                      version, each_price, NULL, &g);
    if (rc == 0 && !g.ended && !g.failed)
        hand_on(&g);
    free(g.names);
    return g.failed ? -1 : rc;
}

static bool each_contract(struct columns *c, void *fn, void *user)
{
    struct slice name = text(c), terms = text(c);
    return (*(ledger_contract_fn **)fn)(user, name, terms);
}

int ledger_read_contracts(struct ledger_reader *r, int64_t version, ledger_contract_fn *fn, void *user)
{
    return read_all(r, "SELECT name, terms FROM price_contract WHERE version = ?1 ORDER BY place", version, each_contract, &fn, user);
}
