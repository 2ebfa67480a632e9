#include "ledger/rollup.h"

#include "ledger/grid.h"
#include "ledger/peers.h"
#include "ledger/statements.h"

#include <stdlib.h>
#include <string.h>

enum { QUARTER_S = 900, DAY_S = 86400, TOKEN_KINDS = 8 };

enum table { QUARTER, DAY, USER_DAY, USER_MONTH, TABLES };

static const char *const tables[TABLES] = { "rollup_row", "rollup_day_row", "rollup_user_day_row", "rollup_user_month_row" };

enum statement { ROLLED, NEWEST, STRETCH, REQUESTS, CORRECTIONS, DENIED, DENIALS, MOVE, STATEMENTS };

#define TOKENS(t)                                                                                                      \
    t "input, " t "input_cached, " t "input_cache_write, " t "input_cache_write_1h, " t "output, " t "output_reasoning, " t "input_audio, " \
      t "output_audio"

static const char *const sql[STATEMENTS] = {
    [ROLLED] = "SELECT value FROM ledger_note WHERE name = 'rolled'",
    [NEWEST] = "SELECT max(id) FROM request_row",
    [STRETCH] = "SELECT max(id) FROM (SELECT id FROM request_row WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3)",
    [REQUESTS] = "SELECT id, started_us, who, coalesce(served, plan, 0), state, known_by, " TOKENS("") ", cost_nano, saved_nano, discount_nano,"
                 " prompt_saved_nano, coalesce(fallback, 0) = 1 AND outcome <> 'provider_error',"
                 " (SELECT coalesce(sum(cost_nano), 0) FROM correction_row WHERE request = request_row.id)"
                 " FROM request_row WHERE id > ?1 AND id <= ?2 AND state <> 0",
    [CORRECTIONS] = "SELECT c.account_us, r.who, coalesce(r.served, r.plan, 0), " TOKENS("c.") ", c.cost_nano, c.discount_nano"
                    " FROM correction_row AS c JOIN request_row AS r ON r.id = c.request WHERE c.request > ?1 AND c.request <= ?2",
    [DENIED] = "INSERT INTO denial_day_row SELECT r.started_us / 86400000000 * 86400, w.account, coalesce(r.deny_reason, ''),"
               " coalesce(r.http_status, 0), count(*) FROM request_row AS r JOIN who AS w ON w.id = r.who"
               " WHERE r.id > ?1 AND r.id <= ?2 AND r.state = 2 GROUP BY 1, 2, 3, 4 ON CONFLICT DO UPDATE SET requests = requests + excluded.requests",
    [DENIALS] = "INSERT INTO denial_day_row VALUES (?1, ?2, ?3, ?4, 1) ON CONFLICT DO UPDATE SET requests = requests + 1",
    [MOVE] = "UPDATE ledger_note SET value = ?1 WHERE name = 'rolled'"
};

struct rollup {
    sqlite3_stmt *s[STATEMENTS];
    struct names *names;
    struct grid *grids[TABLES];
    struct peers *peers;
    int64_t lag, chunk;
    int64_t rolled, newest; /* ids; of the transaction under way */
    bool read;              /* they are what the file says */
};

struct rollup *rollup_new(sqlite3 *db, struct names *names, int64_t lag, int64_t chunk)
{
    struct rollup *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->names = names;
    u->lag = lag;
    u->chunk = chunk;
    u->peers = peers_new(db);
    bool ok = u->peers != NULL;
    for (int i = 0; ok && i < TABLES; i++)
        ok = (u->grids[i] = grid_new(db, tables[i], SUMS)) != NULL;
    if (ok && statements_prepare(db, sql, STATEMENTS, u->s))
        return u;
    rollup_free(u);
    return NULL;
}

void rollup_free(struct rollup *u)
{
    if (!u)
        return;
    statements_end(u->s, STATEMENTS);
    for (int i = 0; i < TABLES; i++)
        grid_free(u->grids[i]);
    peers_free(u->peers);
    free(u);
}

void rollup_forget(struct rollup *u)
{
    for (int i = 0; i < TABLES; i++)
        grid_forget(u->grids[i]);
    peers_forget(u->peers);
    u->read = false;
}

int64_t rollup_month(int64_t seconds)
{
    /* Howard Hinnant's civil_from_days, down to the day of the month; days count from 0000-03-01. */
    int64_t day = seconds / DAY_S, of_era = (day + 719468) % 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    return (day - (of_year - (153 * month + 2) / 5)) * DAY_S;
}

void rollup_sums(const struct rollup_figures *f, int64_t sums[SUMS])
{
    memset(sums, 0, SUMS * sizeof *sums);
    sums[f->denied ? SUM_DENIED : SUM_SETTLED] = 1;
    memcpy(sums + SUM_TOKENS, f->tokens, sizeof f->tokens);
    sums[SUM_COST] = f->cost_nano;
    sums[SUM_SAVED] = f->saved_nano;
    sums[SUM_DISCOUNT] = f->discount_nano;
    sums[SUM_CACHE_ANSWERS] = !f->denied && f->saved_nano > 0;
    sums[SUM_PROMPT_SAVED] = f->prompt_saved_nano;
    sums[SUM_FALLBACKS] = f->fallback_answer;
    sums[SUM_FALLBACK_COST] = f->fallback_answer ? f->cost_nano : 0;
    if (f->denied)
        return;
    sums[SUM_COUNTED] = f->known_by == KNOWN_COUNTED;
    sums[SUM_COUNTED_COST] = f->known_by == KNOWN_COUNTED ? f->cost_nano : 0;
    sums[SUM_BOUNDED] = f->known_by == KNOWN_BOUNDED;
    sums[SUM_BOUNDED_COST] = f->known_by == KNOWN_BOUNDED ? f->cost_nano : 0;
    sums[SUM_UNCHARGED] = f->known_by == KNOWN_NONE;
}

static int step2(sqlite3_stmt *s, int64_t a, int64_t b)
{
    sqlite3_bind_int64(s, 1, a);
    sqlite3_bind_int64(s, 2, b);
    return sqlite3_step(s);
}

/* The first column of the one row of `which`; its parameters are bound. */
static int ask(struct rollup *u, enum statement which, int64_t *out)
{
    int rc = sqlite3_step(u->s[which]);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(u->s[which], 0);
    sqlite3_reset(u->s[which]);
    return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

static int read_marks(struct rollup *u)
{
    int64_t seen = u->newest;
    if (u->read)
        return SQLITE_OK;
    int rc = ask(u, ROLLED, &u->rolled);
    if (rc == SQLITE_OK)
        rc = ask(u, NEWEST, &u->newest);
    u->newest = seen > u->newest ? seen : u->newest;
    u->read = rc == SQLITE_OK;
    return rc;
}

void rollup_seen(struct rollup *u, int64_t id)
{
    u->newest = id > u->newest ? id : u->newest;
}

bool rollup_wants(struct rollup *u, int64_t id)
{
    return read_marks(u) != SQLITE_OK || id <= u->rolled; /* what failed here fails again in rollup_add */
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

static int add_sums(struct rollup *u, int64_t account_us, int64_t who, int64_t account, int64_t target, const int64_t sums[SUMS])
{
    int64_t s = account_us / 1000000, day = s - s % DAY_S;
    const int64_t keys[TABLES][3] = { [QUARTER] = { s - s % QUARTER_S, who, target }, [DAY] = { day, account, target },
                                      [USER_DAY] = { day, who, target }, [USER_MONTH] = { rollup_month(s), who, target } };
    int rc = SQLITE_OK;
    for (int i = 0; i < TABLES && rc == SQLITE_OK; i++)
        rc = grid_add(u->grids[i], keys[i], sums);
    return rc;
}

static int add_denial(struct rollup *u, const struct rollup_change *c, int64_t account)
{
    sqlite3_stmt *s = u->s[DENIALS];
    sqlite3_bind_text(s, 3, c->deny_reason.n ? c->deny_reason.p : "", (int)c->deny_reason.n, SQLITE_STATIC);
    sqlite3_bind_int(s, 4, c->http_status);
    int rc = step2(s, c->started_us / 1000000 / DAY_S * DAY_S, account);
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int rollup_add(struct rollup *u, const struct rollup_change *c)
{
    int64_t account;
    int rc = read_marks(u);
    if (rc == SQLITE_OK)
        rc = names_account_of(u->names, c->who, &account);
    if (rc == SQLITE_OK)
        rc = add_sums(u, c->account_us, c->who, account, c->target, c->sums);
    if (rc == SQLITE_OK && c->sums[SUM_DENIED])
        rc = add_denial(u, c, account);
    return rc == SQLITE_OK ? peers_add(u->peers, c->request, c->started_us, account, c->target, c->cost_before, c->cost_after) : rc;
}

/* ---- taking in newer rows ---------------------------------------------------------------------------------------- */

static int take_request(struct rollup *u, sqlite3_stmt *s)
{
    int64_t account, sums[SUMS], started_us = sqlite3_column_int64(s, 1), who = sqlite3_column_int64(s, 2), target = sqlite3_column_int64(s, 3);
    struct rollup_figures f = { .denied = sqlite3_column_int(s, 4) == LEDGER_DENIED, .known_by = sqlite3_column_int64(s, 5) };
    for (int k = 0; k < TOKEN_KINDS; k++)
        f.tokens[k] = sqlite3_column_int64(s, 6 + k);
    f.cost_nano = sqlite3_column_int64(s, 14);
    f.saved_nano = sqlite3_column_int64(s, 15);
    f.discount_nano = sqlite3_column_int64(s, 16);
    f.prompt_saved_nano = sqlite3_column_int64(s, 17);
    f.fallback_answer = sqlite3_column_int(s, 18) != 0;
    rollup_sums(&f, sums);
    int rc = names_account_of(u->names, who, &account);
    if (rc == SQLITE_OK)
        rc = add_sums(u, started_us, who, account, target, sums);
    if (rc == SQLITE_OK && !f.denied)
        rc = peers_add(u->peers, sqlite3_column_int64(s, 0), started_us, account, target, 0, f.cost_nano + sqlite3_column_int64(s, 19));
    return rc;
}

static int take_correction(struct rollup *u, sqlite3_stmt *s)
{
    int64_t account, who = sqlite3_column_int64(s, 1), sums[SUMS] = { [SUM_CORRECTIONS] = 1 };
    for (int k = 0; k < TOKEN_KINDS; k++)
        sums[SUM_TOKENS + k] = sqlite3_column_int64(s, 3 + k);
    sums[SUM_COST] = sums[SUM_CORRECTION_COST] = sqlite3_column_int64(s, 11);
    sums[SUM_DISCOUNT] = sqlite3_column_int64(s, 12);
    int rc = names_account_of(u->names, who, &account);
    return rc == SQLITE_OK ? add_sums(u, sqlite3_column_int64(s, 0), who, account, sqlite3_column_int64(s, 2), sums) : rc;
}

static int take_rows(struct rollup *u, enum statement which, int64_t last, int (*take)(struct rollup *, sqlite3_stmt *))
{
    int rc, taken = SQLITE_OK;
    for (rc = step2(u->s[which], u->rolled, last); rc == SQLITE_ROW && taken == SQLITE_OK; rc = sqlite3_step(u->s[which]))
        taken = take(u, u->s[which]);
    sqlite3_reset(u->s[which]);
    return taken != SQLITE_OK ? taken : rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int write_all(struct rollup *u)
{
    int rc = SQLITE_OK;
    for (int i = 0; i < TABLES && rc == SQLITE_OK; i++)
        rc = grid_flush(u->grids[i]);
    return rc == SQLITE_OK ? peers_flush(u->peers) : rc;
}

static int take_in(struct rollup *u, int64_t last)
{
    int rc = take_rows(u, REQUESTS, last, take_request);
    if (rc == SQLITE_OK)
        rc = take_rows(u, CORRECTIONS, last, take_correction);
    if (rc == SQLITE_OK) {
        rc = step2(u->s[DENIED], u->rolled, last);
        sqlite3_reset(u->s[DENIED]);
        rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
    }
    if (rc == SQLITE_OK)
        rc = write_all(u);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int64(u->s[MOVE], 1, last);
    rc = sqlite3_step(u->s[MOVE]);
    sqlite3_reset(u->s[MOVE]);
    u->rolled = last;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The next `chunk` requests up to the id `last`; ids may have gaps. */
static int take_stretch(struct rollup *u, int64_t last)
{
    sqlite3_stmt *s = u->s[STRETCH];
    int64_t end = 0;
    sqlite3_bind_int64(s, 1, u->rolled);
    sqlite3_bind_int64(s, 2, last);
    sqlite3_bind_int64(s, 3, u->chunk);
    int rc = ask(u, STRETCH, &end);
    return rc == SQLITE_OK ? take_in(u, end > u->rolled ? end : last) : rc;
}

int rollup_flush(struct rollup *u)
{
    int rc = read_marks(u);
    return rc == SQLITE_OK ? write_all(u) : rc;
}

int64_t rollup_due(const struct rollup *u)
{
    int64_t n = (u->newest - u->rolled - u->lag) / u->chunk;
    return u->read && n > 0 ? n : 0;
}

int rollup_take_chunk(struct rollup *u)
{
    int rc = read_marks(u);
    return rc == SQLITE_OK ? take_stretch(u, u->newest - u->lag) : rc;
}

int rollup_take_in(struct rollup *u, int64_t id)
{
    int rc = read_marks(u);
    if (rc == SQLITE_OK)
        rc = write_all(u);
    while (rc == SQLITE_OK && u->rolled < id)
        rc = take_stretch(u, id);
    return rc;
}
