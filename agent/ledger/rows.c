#include "ledger/rows.h"

#include "ledger/access.h"
#include "ledger/alerts.h"
#include "ledger/names.h"
#include "ledger/observed.h"
#include "ledger/price_rows.h"
#include "ledger/rollup.h"
#include "ledger/statements.h"
#include "ledger/subject.h"

#include <stdlib.h>

enum { TOKEN_KINDS = 8 };

enum statement {
    INSERT_REQUEST, FIND_OPEN, SETTLE_REQUEST, INSERT_ATTEMPT, FIND_SETTLED, INSERT_CORRECTION, FIND_OPEN_BEFORE,
    CLOSE_MONTH, CLOSED_BEFORE, ERASE_SUMS, KEEP_ALIASES, KEEP_CORRECTED, ERASE_ATTEMPTS, ERASE_CORRECTIONS, ERASE_REQUESTS, ERASE_NOTE, ERASE_LAST_ID, ERASE_SLOT,
    SAVE, RELEASE, UNDO, STATEMENTS
};

/* Of an erase: ?1..?2 ids, ?3 started before, ?4 the last correction that was copied. */
#define ERASABLE                                                                                                       \
    "id BETWEEN ?1 AND ?2 AND started_us < ?3 AND state <> 0"                                                           \
    " AND NOT EXISTS (SELECT 1 FROM correction_row AS c WHERE c.request = request_row.id AND c.id > ?4)"

#define ALL_TOKENS(t)                                                                                                  \
    "coalesce(" t "input, 0) + coalesce(" t "input_cached, 0) + coalesce(" t "input_cache_write, 0) + coalesce(" t "input_cache_write_1h, 0) + coalesce(" \
    t "output, 0) + coalesce(" t "output_reasoning, 0) + coalesce(" t "input_audio, 0) + coalesce(" t "output_audio, 0)"
#define ADD_ALIAS                                                                                                      \
    " ON CONFLICT DO UPDATE SET settled = settled + excluded.settled, tokens = tokens + excluded.tokens, cost_nano = cost_nano + excluded.cost_nano"

static const char *const sql[STATEMENTS] = {
    [INSERT_REQUEST] =
        "INSERT INTO request_row (id, request_id, started_us, who, state, deny_reason, endpoint, stream, alias, plan, plan_fallback,"
        " input_counted, input_bound, exactness, output_ceiling, choices, hold_nano, price_version, body_bytes, identity_us, tokens_us,"
        " budget_us, http_status, settled_us, known_by, saved_nano, budget_left_nano, charged_as, images, images_out) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
        " ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)",
    [SETTLE_REQUEST] =
        "UPDATE request_row SET state = 1, http_status = ?2, settled_us = ?3, known_by = ?4, outcome = ?5, served = ?6, input = ?7,"
        " input_cached = ?8, input_cache_write = ?9, input_cache_write_1h = ?10, output = ?11, output_reasoning = ?12, input_audio = ?13,"
        " output_audio = ?14, cost_nano = ?15, provider_cost_nano = ?16, price_version = ?17, ttft_us = ?18, tpot_ns = ?19,"
        " total_us = ?20, attempts = ?21, fallback = ?22, response_bytes = ?23, commit_us = ?24, discount_nano = ?25,"
        " prompt_saved_nano = ?26, provider_request_id = ?27, images_out = iif(?4 = 3, images_out, ?28), output_image = ?29 WHERE id = ?1",
    [FIND_OPEN] = "SELECT started_us, who, plan FROM request_row WHERE id = ?1 AND state = 0",
    [INSERT_ATTEMPT] = "INSERT OR IGNORE INTO attempt_row VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [FIND_SETTLED] =
        "SELECT r.started_us, r.who, coalesce(r.served, r.plan, 0), r.state,"
        " coalesce(r.input, 0) + coalesce(sum(c.input), 0), coalesce(r.input_cached, 0) + coalesce(sum(c.input_cached), 0),"
        " coalesce(r.input_cache_write, 0) + coalesce(sum(c.input_cache_write), 0),"
        " coalesce(r.input_cache_write_1h, 0) + coalesce(sum(c.input_cache_write_1h), 0), coalesce(r.output, 0) + coalesce(sum(c.output), 0),"
        " coalesce(r.output_reasoning, 0) + coalesce(sum(c.output_reasoning), 0), coalesce(r.input_audio, 0) + coalesce(sum(c.input_audio), 0),"
        " coalesce(r.output_audio, 0) + coalesce(sum(c.output_audio), 0), r.cost_nano + coalesce(sum(c.cost_nano), 0)"
        " FROM request_row AS r LEFT JOIN correction_row AS c ON c.request = r.id WHERE r.id = ?1 GROUP BY r.id",
    [INSERT_CORRECTION] =
        "INSERT INTO correction_row (request, booked_us, account_us, reason, known_by, input, input_cached, input_cache_write,"
        " input_cache_write_1h, output, output_reasoning, input_audio, output_audio, cost_nano, price_version, discount_nano,"
        " started_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    [FIND_OPEN_BEFORE] = "SELECT 1 FROM request_row INDEXED BY request_open WHERE state = 0 AND started_us < ?1 LIMIT 1",
    [CLOSE_MONTH] = "INSERT OR IGNORE INTO month_close VALUES (?1, ?2)",
    [CLOSED_BEFORE] = "SELECT coalesce(max(before_us), 0) FROM month_close",
    [ERASE_SUMS] = "SELECT count(*), coalesce(sum(cost_nano + (SELECT coalesce(sum(cost_nano), 0) FROM correction_row AS k"
                   " WHERE k.request = request_row.id)), 0), coalesce(max(started_us) / 900000000 * 900, -1) FROM request_row WHERE " ERASABLE,
    [KEEP_ALIASES] = "INSERT INTO archived_alias SELECT started_us / 900000000 * 900, who, coalesce(served, plan, 0), coalesce(charged_as, alias),"
                     " count(*), sum(" ALL_TOKENS("") "), sum(cost_nano) FROM request_row WHERE state = 1 AND " ERASABLE " GROUP BY 1, 2, 3, 4" ADD_ALIAS,
    [KEEP_CORRECTED] = "INSERT INTO archived_alias SELECT c.account_us / 900000000 * 900, r.who, coalesce(r.served, r.plan, 0),"
                       " coalesce(r.charged_as, r.alias), 0, sum(" ALL_TOKENS("c.") "), sum(c.cost_nano) FROM correction_row AS c"
                       " JOIN request_row AS r ON r.id = c.request WHERE c.request IN (SELECT id FROM request_row WHERE " ERASABLE ")"
                       " GROUP BY 1, 2, 3, 4" ADD_ALIAS,
    [ERASE_ATTEMPTS] = "DELETE FROM attempt_row WHERE request IN (SELECT id FROM request_row WHERE " ERASABLE ")",
    [ERASE_CORRECTIONS] = "DELETE FROM correction_row WHERE request IN (SELECT id FROM request_row WHERE " ERASABLE ")",
    [ERASE_REQUESTS] = "DELETE FROM request_row WHERE " ERASABLE,
    [ERASE_NOTE] = "INSERT INTO archive VALUES (?1, ?2, ?3, ?4, ?5, strftime('%s', 'now') * 1000000)",
    [ERASE_LAST_ID] = "UPDATE ledger_note SET value = max(value, ?1) WHERE name = 'last_id'",
    [ERASE_SLOT] = "INSERT INTO ledger_note VALUES ('archived_slot', ?1) ON CONFLICT DO UPDATE SET value = max(value, ?1)",
    [SAVE] = "SAVEPOINT operation",
    [RELEASE] = "RELEASE operation",
    [UNDO] = "ROLLBACK TO operation"
};

struct rows {
    sqlite3 *db;
    struct names *names;
    struct rollup *rollup;
    struct access_rows *access;
    struct alert_rows *alerts;
    struct price_rows *prices;
    struct observed_rows *observed;
    struct subject_rows *subjects;
    int64_t closed_before_us; /* -1: not read yet */
    sqlite3_stmt *s[STATEMENTS];
};

struct rows *rows_new(sqlite3 *db, int64_t rollup_lag, int64_t rollup_chunk)
{
    struct rows *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->db = db;
    r->closed_before_us = -1;
    r->names = names_new(db);
    r->rollup = r->names ? rollup_new(db, r->names, rollup_lag, rollup_chunk) : NULL;
    r->access = access_rows_new(db);
    r->alerts = alert_rows_new(db);
    r->prices = price_rows_new(db);
    r->observed = observed_rows_new(db);
    r->subjects = subject_rows_new(db);
    bool ok = r->rollup && r->access && r->alerts && r->prices && r->observed && r->subjects;
    if (ok && statements_prepare(db, sql, STATEMENTS, r->s))
        return r;
    rows_free(r);
    return NULL;
}

void rows_free(struct rows *r)
{
    if (!r)
        return;
    statements_end(r->s, STATEMENTS);
    rollup_free(r->rollup);
    access_rows_free(r->access);
    alert_rows_free(r->alerts);
    price_rows_free(r->prices);
    observed_rows_free(r->observed);
    subject_rows_free(r->subjects);
    names_free(r->names);
    free(r);
}

void rows_forget(struct rows *r)
{
    names_forget(r->names);
    rollup_forget(r->rollup);
    r->closed_before_us = -1;
}

int rows_flush(struct rows *r)
{
    return rollup_flush(r->rollup) == SQLITE_OK ? 0 : ROWS_TRANSACTION_FAILED;
}

int64_t rows_rollup_due(const struct rows *r)
{
    return rollup_due(r->rollup);
}

int rows_roll_up(struct rows *r)
{
    return rollup_take_chunk(r->rollup) == SQLITE_OK ? 0 : ROWS_TRANSACTION_FAILED;
}

/* ---- binding ----------------------------------------------------------------------------------------------------- */

/* -1 stands for unknown. */
static void bind_known(sqlite3_stmt *s, int at, int64_t v)
{
    if (v < 0)
        sqlite3_bind_null(s, at);
    else
        sqlite3_bind_int64(s, at, v);
}

/* 0 stands for none. */
static void bind_id(sqlite3_stmt *s, int at, int64_t v)
{
    if (v == 0)
        sqlite3_bind_null(s, at);
    else
        sqlite3_bind_int64(s, at, v);
}

static void spread(const struct token_usage *u, int64_t out[TOKEN_KINDS])
{
    const int64_t v[TOKEN_KINDS] = { u->input, u->input_cached, u->input_cache_write, u->input_cache_write_1h, u->output, u->output_reasoning,
                                     u->input_audio, u->output_audio };
    memcpy(out, v, sizeof v);
}

/* Is an error this operation's own fault, or the transaction's? */
static int verdict(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK: case SQLITE_DONE: case SQLITE_ROW:
        return LEDGER_OK;
    case SQLITE_CONSTRAINT: case SQLITE_MISMATCH: case SQLITE_TOOBIG: case SQLITE_RANGE:
        return LEDGER_INVALID;
    default:
        return ROWS_TRANSACTION_FAILED;
    }
}

/* Steps a statement that returns nothing. */
static int run(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    return verdict(rc);
}

int rows_run(sqlite3_stmt *s)
{
    return run(s);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool decision_valid(const struct ledger_decision *d)
{
    const int64_t tokens[] = { d->input_tokens, d->input_bound, d->output_ceiling, d->choices, d->body_bytes, d->images, d->images_out };
    const int64_t money[] = { d->hold_nano, d->saved_nano };
    return d->id > 0 && d->started_us >= 0 && d->started_us <= LEDGER_TIME_MAX && ledger_within(tokens, 7, -1, LEDGER_TOKENS_MAX) &&
           ledger_within(money, 2, 0, LEDGER_NANO_MAX) && (unsigned)d->state <= LEDGER_DENIED;
}

static void bind_decision(sqlite3_stmt *s, const struct ledger_decision *d, int64_t who, int64_t plan, int64_t fallback)
{
    bool open = d->state == LEDGER_OPEN;
    sqlite3_bind_int64(s, 1, d->id);
    statement_bind_text(s, 2, d->request_id);
    sqlite3_bind_int64(s, 3, d->started_us);
    sqlite3_bind_int64(s, 4, who);
    sqlite3_bind_int(s, 5, (int)d->state);
    if (d->state == LEDGER_DENIED)
        statement_bind_text(s, 6, d->deny_reason);
    else
        sqlite3_bind_null(s, 6);
    sqlite3_bind_int(s, 7, (int)d->endpoint);
    sqlite3_bind_int(s, 8, d->stream);
    statement_bind_text(s, 9, d->alias);
    bind_id(s, 10, plan);
    bind_id(s, 11, fallback);
    bind_known(s, 12, d->input_tokens);
    bind_known(s, 13, d->input_bound);
    sqlite3_bind_int(s, 14, (int)d->exactness);
    bind_known(s, 15, d->output_ceiling);
    bind_known(s, 16, d->choices);
    sqlite3_bind_int64(s, 17, d->hold_nano);
    bind_id(s, 18, d->price_version);
    bind_known(s, 19, d->body_bytes);
    bind_known(s, 20, d->identity_us);
    bind_known(s, 21, d->tokens_us);
    bind_known(s, 22, d->budget_us);
    bind_id(s, 23, d->http_status);
    bind_id(s, 24, open ? 0 : d->started_us);
    sqlite3_bind_int(s, 25, open ? KNOWN_OPEN : KNOWN_NONE);
    sqlite3_bind_int64(s, 26, d->saved_nano);
    bind_known(s, 27, d->budget_left_nano);
    if (d->charged_as.n > 0)
        statement_bind_text(s, 28, d->charged_as);
    else
        sqlite3_bind_null(s, 28);
    sqlite3_bind_int64(s, 29, d->images > 0 ? d->images : 0);
    sqlite3_bind_int64(s, 30, d->images_out > 0 ? d->images_out : 0);
}

static int write_decision(struct rows *r, const struct ledger_decision *d)
{
    int64_t who, account, plan, fallback;
    if (!decision_valid(d))
        return LEDGER_INVALID;
    int rc = names_who(r->names, &d->who, &who, &account);
    if (rc == SQLITE_OK)
        rc = names_target(r->names, &d->primary, &plan);
    if (rc == SQLITE_OK)
        rc = names_target(r->names, &d->fallback, &fallback);
    if (rc != SQLITE_OK)
        return verdict(rc);
    bind_decision(r->s[INSERT_REQUEST], d, who, plan, fallback);
    int result = run(r->s[INSERT_REQUEST]);
    if (result != LEDGER_OK)
        return result;
    rollup_seen(r->rollup, d->id);
    if (d->state == LEDGER_OPEN || !rollup_wants(r->rollup, d->id))
        return LEDGER_OK;
    struct rollup_change c = { .request = d->id, .started_us = d->started_us, .account_us = d->started_us, .who = who, .target = plan,
                               .deny_reason = d->deny_reason, .http_status = d->http_status };
    rollup_sums(&(struct rollup_figures){ .known_by = KNOWN_NONE, .saved_nano = d->saved_nano, .denied = d->state == LEDGER_DENIED }, c.sums);
    return rollup_add(r->rollup, &c) == SQLITE_OK ? LEDGER_OK : ROWS_TRANSACTION_FAILED;
}

static void bind_settlement(sqlite3_stmt *s, const struct ledger_settlement *t, int64_t served, const int64_t tokens[TOKEN_KINDS])
{
    sqlite3_bind_int64(s, 1, t->id);
    bind_id(s, 2, t->http_status);
    sqlite3_bind_int64(s, 3, t->settled_us);
    sqlite3_bind_int(s, 4, (int)t->known_by);
    statement_bind_text(s, 5, t->outcome);
    bind_id(s, 6, served);
    for (int k = 0; k < TOKEN_KINDS; k++)
        sqlite3_bind_int64(s, 7 + k, tokens[k]);
    sqlite3_bind_int64(s, 15, t->cost_nano);
    bind_known(s, 16, t->provider_cost_nano);
    bind_id(s, 17, t->price_version);
    bind_known(s, 18, t->ttft_us);
    bind_known(s, 19, t->tpot_ns);
    bind_known(s, 20, t->total_us);
    sqlite3_bind_int(s, 21, t->attempts);
    sqlite3_bind_int(s, 22, t->fallback);
    bind_known(s, 23, t->response_bytes);
    bind_known(s, 24, t->commit_us);
    sqlite3_bind_int64(s, 25, t->discount_nano);
    sqlite3_bind_int64(s, 26, t->prompt_saved_nano);
    statement_bind_text(s, 27, t->provider_request_id);
    sqlite3_bind_int64(s, 28, t->usage.images_out);
    sqlite3_bind_int64(s, 29, t->usage.output_image);
}

/* What an open request needs for its roll-up; *target is the planned one. SQLITE_ROW, SQLITE_DONE when it is not open, or an error. */
static int find_open(struct rows *r, int64_t id, int64_t *started_us, int64_t *who, int64_t *target)
{
    sqlite3_stmt *s = r->s[FIND_OPEN];
    sqlite3_bind_int64(s, 1, id);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        *started_us = sqlite3_column_int64(s, 0);
        *who = sqlite3_column_int64(s, 1);
        *target = sqlite3_column_int64(s, 2);
    }
    sqlite3_reset(s);
    return rc;
}

static int write_settlement(struct rows *r, const struct ledger_settlement *t)
{
    int64_t served, started_us, who, target;
    struct rollup_figures f = { .known_by = (int64_t)t->known_by, .cost_nano = t->cost_nano, .discount_nano = t->discount_nano,
                                .prompt_saved_nano = t->prompt_saved_nano,
                                .fallback_answer = t->fallback && !slice_eq_cstr(t->outcome, "provider_error") };
    spread(&t->usage, f.tokens);
    if (!ledger_within(f.tokens, TOKEN_KINDS, 0, LEDGER_TOKENS_MAX) || !ledger_within((int64_t[]){ t->cost_nano, t->prompt_saved_nano }, 2, 0, LEDGER_NANO_MAX) ||
        !ledger_within(&t->discount_nano, 1, -LEDGER_NANO_MAX, LEDGER_NANO_MAX) || t->known_by == KNOWN_OPEN || t->settled_us < 0 || t->settled_us > LEDGER_TIME_MAX)
        return LEDGER_INVALID;
    int rc = find_open(r, t->id, &started_us, &who, &target);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? LEDGER_STALE : verdict(rc);
    rc = names_target(r->names, &t->served, &served);
    if (rc != SQLITE_OK)
        return verdict(rc);
    bind_settlement(r->s[SETTLE_REQUEST], t, served, f.tokens);
    int result = run(r->s[SETTLE_REQUEST]);
    if (result != LEDGER_OK || !rollup_wants(r->rollup, t->id))
        return result;
    struct rollup_change c = { .request = t->id, .started_us = started_us, .account_us = started_us, .who = who,
                               .target = served ? served : target, .cost_after = t->cost_nano };
    rollup_sums(&f, c.sums);
    rc = rollup_add(r->rollup, &c);
    return rc == SQLITE_OK ? LEDGER_OK : ROWS_TRANSACTION_FAILED; /* the row is changed: it and its sums, or neither */
}

static int write_attempt(struct rows *r, const struct ledger_attempt *a)
{
    sqlite3_stmt *s = r->s[INSERT_ATTEMPT];
    int64_t target;
    if (a->id <= 0 || a->number < 1)
        return LEDGER_INVALID;
    int rc = names_target(r->names, &a->target, &target);
    if (rc != SQLITE_OK)
        return verdict(rc);
    sqlite3_bind_int64(s, 1, a->id);
    sqlite3_bind_int(s, 2, a->number);
    bind_id(s, 3, target);
    sqlite3_bind_int64(s, 4, a->started_us);
    bind_id(s, 5, a->http_status);
    statement_bind_text(s, 6, a->outcome);
    bind_known(s, 7, a->first_byte_us);
    bind_known(s, 8, a->total_us);
    statement_bind_text(s, 9, a->provider_request_id);
    int result = run(s);
    return result == LEDGER_OK && sqlite3_changes(r->db) == 0 ? LEDGER_STALE : result;
}

/* ---- corrections and closing ------------------------------------------------------------------------------------- */

static int closed_before(struct rows *r, int64_t *before_us)
{
    sqlite3_stmt *s = r->s[CLOSED_BEFORE];
    int rc = SQLITE_ROW;
    if (r->closed_before_us < 0) {
        rc = sqlite3_step(s);
        if (rc == SQLITE_ROW)
            r->closed_before_us = sqlite3_column_int64(s, 0);
        sqlite3_reset(s);
    }
    *before_us = r->closed_before_us;
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

struct settled {
    int64_t started_us, who, target, cost_nano; /* the cost with the corrections there are */
};

/* The request a correction is for. LEDGER_STALE when it is not settled, LEDGER_INVALID when a sum would become negative. */
static int find_settled(struct rows *r, int64_t id, const int64_t sums[SUMS], struct settled *out)
{
    sqlite3_stmt *s = r->s[FIND_SETTLED];
    sqlite3_bind_int64(s, 1, id);
    int rc = sqlite3_step(s), result = verdict(rc);
    if (rc == SQLITE_ROW) {
        *out = (struct settled){ sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 2),
                                 sqlite3_column_int64(s, 4 + TOKEN_KINDS) };
        if (sqlite3_column_int64(s, 3) != LEDGER_SETTLED)
            result = LEDGER_STALE;
        for (int k = 0; k < TOKEN_KINDS + 1 && result == LEDGER_OK; k++) /* the cost follows the tokens in both */
            if (sqlite3_column_int64(s, 4 + k) + sums[SUM_TOKENS + k] < 0)
                result = LEDGER_INVALID;
    } else if (rc == SQLITE_DONE) {
        result = LEDGER_STALE;
    }
    sqlite3_reset(s);
    return result;
}

static int write_correction(struct rows *r, const struct ledger_correction *c)
{
    sqlite3_stmt *s = r->s[INSERT_CORRECTION];
    struct settled row = { 0, 0, 0, 0 };
    struct rollup_change change = { .request = c->id, .sums = { [SUM_CORRECTIONS] = 1, [SUM_COST] = c->cost_nano, [SUM_DISCOUNT] = c->discount_nano,
                                                                [SUM_CORRECTION_COST] = c->cost_nano } };
    int64_t closed, *sums = change.sums;
    spread(&c->usage, sums + SUM_TOKENS);
    if (!ledger_within(sums + SUM_TOKENS, TOKEN_KINDS, -LEDGER_TOKENS_MAX, LEDGER_TOKENS_MAX) ||
        !ledger_within((int64_t[]){ c->cost_nano, c->discount_nano }, 2, -LEDGER_NANO_MAX, LEDGER_NANO_MAX) || c->known_by == KNOWN_OPEN || c->booked_us < 0 ||
        c->booked_us > LEDGER_TIME_MAX)
        return LEDGER_INVALID;
    int result = find_settled(r, c->id, sums, &row);
    if (result != LEDGER_OK)
        return result;
    int rc = closed_before(r, &closed);
    if (rc != SQLITE_OK)
        return verdict(rc);
    int64_t open_us = c->booked_us > closed ? c->booked_us : closed; /* a clock that was set back reopens no month */
    int64_t account_us = row.started_us < closed ? open_us : row.started_us;
    sqlite3_bind_int64(s, 1, c->id);
    sqlite3_bind_int64(s, 2, c->booked_us);
    sqlite3_bind_int64(s, 3, account_us);
    statement_bind_text(s, 4, c->reason);
    sqlite3_bind_int(s, 5, (int)c->known_by);
    for (int k = 0; k < TOKEN_KINDS; k++)
        sqlite3_bind_int64(s, 6 + k, sums[SUM_TOKENS + k]);
    sqlite3_bind_int64(s, 14, c->cost_nano);
    bind_id(s, 15, c->price_version);
    sqlite3_bind_int64(s, 16, c->discount_nano);
    sqlite3_bind_int64(s, 17, row.started_us);
    result = run(s);
    if (result == LEDGER_OK && c->subject) {
        result = subject_rows_find(r->subjects, c->id, c->subject);
        c->subject->account_us = account_us;
    }
    if (result != LEDGER_OK || !rollup_wants(r->rollup, c->id))
        return result;
    change.started_us = row.started_us;
    change.account_us = account_us;
    change.who = row.who;
    change.target = row.target;
    change.cost_before = row.cost_nano;
    change.cost_after = row.cost_nano + c->cost_nano;
    return rollup_add(r->rollup, &change) == SQLITE_OK ? LEDGER_OK : ROWS_TRANSACTION_FAILED;
}

static int close_month(struct rows *r, const struct ledger_month_close *m)
{
    sqlite3_bind_int64(r->s[FIND_OPEN_BEFORE], 1, m->before_us);
    int rc = sqlite3_step(r->s[FIND_OPEN_BEFORE]);
    sqlite3_reset(r->s[FIND_OPEN_BEFORE]);
    if (rc != SQLITE_DONE)
        return rc == SQLITE_ROW ? LEDGER_STALE : verdict(rc);
    sqlite3_bind_int64(r->s[CLOSE_MONTH], 1, m->before_us);
    sqlite3_bind_int64(r->s[CLOSE_MONTH], 2, m->closed_us);
    r->closed_before_us = -1;
    return run(r->s[CLOSE_MONTH]);
}

/* ---- erasing what was archived ----------------------------------------------------------------------------------- */

static void bind_erase(sqlite3_stmt *s, const struct ledger_op *op)
{
    sqlite3_bind_int64(s, 1, op->erase.first);
    sqlite3_bind_int64(s, 2, op->erase.last);
    sqlite3_bind_int64(s, 3, op->erase.before_us);
    sqlite3_bind_int64(s, 4, op->erase.last_correction);
}

static int erase(struct rows *r, const struct ledger_op *op)
{
    static const enum statement steps[] = { KEEP_ALIASES, KEEP_CORRECTED, ERASE_ATTEMPTS, ERASE_CORRECTIONS, ERASE_REQUESTS };
    sqlite3_stmt *s = r->s[ERASE_SUMS];
    bind_erase(s, op);
    int rc = sqlite3_step(s);
    int64_t count = sqlite3_column_int64(s, 0), cost = sqlite3_column_int64(s, 1), slot = sqlite3_column_int64(s, 2);
    sqlite3_reset(s);
    if (rc != SQLITE_ROW || count == 0)
        return rc == SQLITE_ROW ? LEDGER_STALE : verdict(rc);
    int result = LEDGER_OK;
    /* The requests go last: the others are found through them. */
    for (size_t i = 0; result == LEDGER_OK && i < sizeof steps / sizeof *steps; i++) {
        bind_erase(r->s[steps[i]], op);
        result = run(r->s[steps[i]]);
    }
    s = r->s[ERASE_NOTE];
    statement_bind_text(s, 1, op->erase.file);
    sqlite3_bind_int64(s, 2, op->erase.first);
    sqlite3_bind_int64(s, 3, op->erase.last);
    sqlite3_bind_int64(s, 4, count);
    sqlite3_bind_int64(s, 5, cost);
    result = result == LEDGER_OK ? run(s) : result;
    sqlite3_bind_int64(r->s[ERASE_LAST_ID], 1, op->erase.last);
    result = result == LEDGER_OK ? run(r->s[ERASE_LAST_ID]) : result;
    sqlite3_bind_int64(r->s[ERASE_SLOT], 1, slot);
    return result == LEDGER_OK ? run(r->s[ERASE_SLOT]) : result;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

/* Operations of several statements are undone whole when one of these is refused. */
static int with_savepoint(struct rows *r, const struct ledger_op *op)
{
    /* Before the savepoint: an undo must not take sums with it. */
    if (op->kind == LEDGER_ERASE && rollup_take_in(r->rollup, op->erase.last) != SQLITE_OK)
        return ROWS_TRANSACTION_FAILED;
    if (run(r->s[SAVE]) != LEDGER_OK)
        return ROWS_TRANSACTION_FAILED;
    int result = op->kind == LEDGER_PRICES   ? price_rows_write(r->prices, &op->prices)
                 : op->kind == LEDGER_ACCESS ? access_rows_write(r->access, &op->access)
                                             : erase(r, op);
    if (result == LEDGER_INVALID && run(r->s[UNDO]) != LEDGER_OK)
        return ROWS_TRANSACTION_FAILED;
    if (result != ROWS_TRANSACTION_FAILED && run(r->s[RELEASE]) != LEDGER_OK)
        return ROWS_TRANSACTION_FAILED;
    return result;
}

int rows_write(struct rows *r, const struct ledger_op *op)
{
    switch (op->kind) {
    case LEDGER_DECISION: return write_decision(r, &op->decision);
    case LEDGER_SETTLEMENT: return write_settlement(r, &op->settlement);
    case LEDGER_ATTEMPT: return write_attempt(r, &op->attempt);
    case LEDGER_CORRECTION: return write_correction(r, &op->correction);
    case LEDGER_CLOSE_MONTH: return close_month(r, &op->close);
    case LEDGER_LEARNED: return observed_rows_learned(r->observed, &op->learned);
    case LEDGER_PRICES: case LEDGER_ACCESS: case LEDGER_ERASE: return with_savepoint(r, op);
    case LEDGER_ROUTE: return observed_rows_route(r->observed, &op->route);
    case LEDGER_ALERT: return alert_rows_write(r->alerts, &op->alert);
    case LEDGER_ERASE_ALERTS: return alert_rows_erase(r->alerts, op);
    }
    return LEDGER_INVALID;
}
