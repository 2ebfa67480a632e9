#include "ledger/access.h"

#include "ledger/statements.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEXT_MAX = 4096, HASH_BYTES = 32 };

enum statement { REVOKE, PRUNE, UNREVOKE, CREATE_KEY, ROTATE_KEY, EVENT, STATEMENTS };

static const char *const sql[STATEMENTS] = {
    [REVOKE] = "INSERT OR REPLACE INTO revocation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [PRUNE] = "DELETE FROM revocation WHERE expires_s BETWEEN 1 AND ?1",
    [UNREVOKE] = "DELETE FROM revocation WHERE kind = ?1 AND issuer = ?2 AND value = ?3",
    [CREATE_KEY] = "INSERT INTO gateway_key (id, name, hash, previous_hash, previous_until_s, created_us, rotated_us, expires_s, organization,"
                   " team, user_name, application, cost_center, groups, models, actor, endpoints, budget, secret)"
                   " VALUES (?1, ?2, ?3, x'', 0, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    [ROTATE_KEY] = "UPDATE gateway_key SET previous_hash = hash, previous_until_s = ?2, hash = ?3, rotated_us = ?4, expires_s = ?5 WHERE id = ?1",
    [EVENT] = "INSERT INTO access_event (at_us, actor, action, object, detail) VALUES (?1, ?2, ?3, ?4, ?5)"
};

struct access_rows {
    sqlite3 *db;
    sqlite3_stmt *s[STATEMENTS];
};

struct access_rows *access_rows_new(sqlite3 *db)
{
    struct access_rows *r = calloc(1, sizeof *r);

    if (r != NULL && statements_prepare(db, sql, STATEMENTS, r->s)) {
        r->db = db;
        return r;
    }
    access_rows_free(r);
    return NULL;
}

void access_rows_free(struct access_rows *r)
{
    if (r == NULL)
        return;
    statements_end(r->s, STATEMENTS);
    free(r);
}

/* What is looked up again by its text is never cut: a longer one is refused. */
static bool texts_valid(const struct ledger_access *a)
{
    const struct slice texts[] = { a->kind, a->issuer, a->value, a->origin, a->note, a->actor, a->action, a->detail, a->key.name,
                                   a->key.who.organization, a->key.who.team, a->key.who.user, a->key.who.application,
                                   a->key.who.cost_center, a->key.groups, a->key.models, a->key.endpoints, a->key.budget, a->key.secret };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].n > TEXT_MAX)
            return false;
    return a->value.n > 0 && a->at_us > 0;
}

static void bind(sqlite3_stmt *s, int at, struct slice v)
{
    sqlite3_bind_text(s, at, v.n ? v.p : "", (int)v.n, SQLITE_STATIC);
}

static int revoke(struct access_rows *r, const struct ledger_access *a)
{
    sqlite3_stmt *s = r->s[REVOKE];
    bind(s, 1, a->kind);
    bind(s, 2, a->issuer);
    bind(s, 3, a->value);
    bind(s, 4, a->origin);
    sqlite3_bind_int64(s, 5, a->before_s);
    sqlite3_bind_int(s, 6, a->sessionless);
    sqlite3_bind_int64(s, 7, a->expires_s);
    sqlite3_bind_int64(s, 8, a->at_us);
    bind(s, 9, a->actor);
    bind(s, 10, a->note);
    int result = rows_run(s);
    if (result != LEDGER_OK || a->expires_s == 0)
        return result;
    sqlite3_bind_int64(r->s[PRUNE], 1, a->at_us / 1000000); /* those that end are what there could be many of */
    return rows_run(r->s[PRUNE]);
}

static int unrevoke(struct access_rows *r, const struct ledger_access *a)
{
    sqlite3_stmt *s = r->s[UNREVOKE];
    bind(s, 1, a->kind);
    bind(s, 2, a->issuer);
    bind(s, 3, a->value);
    int result = rows_run(s);
    return result == LEDGER_OK && sqlite3_changes(r->db) == 0 ? LEDGER_STALE : result;
}

static int create_key(struct access_rows *r, const struct ledger_access *a)
{
    const struct ledger_key *k = &a->key;
    sqlite3_stmt *s = r->s[CREATE_KEY];

    bind(s, 1, a->value);
    bind(s, 2, k->name);
    sqlite3_bind_blob(s, 3, k->hash, HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, a->at_us);
    sqlite3_bind_int64(s, 5, a->expires_s);
    bind(s, 6, k->who.organization);
    bind(s, 7, k->who.team);
    bind(s, 8, k->who.user);
    bind(s, 9, k->who.application);
    bind(s, 10, k->who.cost_center);
    bind(s, 11, k->groups);
    bind(s, 12, k->models);
    bind(s, 13, a->actor);
    bind(s, 14, k->endpoints);
    bind(s, 15, k->budget);
    bind(s, 16, k->secret);
    return rows_run(s);
}

static int rotate_key(struct access_rows *r, const struct ledger_access *a)
{
    sqlite3_stmt *s = r->s[ROTATE_KEY];
    bind(s, 1, a->value);
    sqlite3_bind_int64(s, 2, a->key.previous_until_s);
    sqlite3_bind_blob(s, 3, a->key.hash, HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, a->at_us);
    sqlite3_bind_int64(s, 5, a->expires_s);
    int result = rows_run(s);
    return result == LEDGER_OK && sqlite3_changes(r->db) == 0 ? LEDGER_STALE : result;
}

static int event(struct access_rows *r, const struct ledger_access *a)
{
    char object[2 * TEXT_MAX + 16];
    sqlite3_stmt *s = r->s[EVENT];
    struct slice what = a->change == ACCESS_CREATE_KEY || a->change == ACCESS_ROTATE_KEY ? SLICE_LIT("key") : a->kind;

    snprintf(object, sizeof object, "%.*s %.*s%s%.*s", SLICE_FMT(what), SLICE_FMT(a->value), a->issuer.n > 0 ? " of " : "",
             SLICE_FMT(a->issuer));
    sqlite3_bind_int64(s, 1, a->at_us);
    bind(s, 2, a->actor);
    bind(s, 3, a->action);
    bind(s, 4, slice_cstr(object));
    bind(s, 5, a->detail.n > 0 ? a->detail : a->note);
    return rows_run(s);
}

int access_rows_write(struct access_rows *r, const struct ledger_access *a)
{
    int result = LEDGER_INVALID;

    if (!texts_valid(a))
        return result;
    switch (a->change) {
    case ACCESS_REVOKE: result = revoke(r, a); break;
    case ACCESS_UNREVOKE: result = unrevoke(r, a); break;
    case ACCESS_CREATE_KEY: result = create_key(r, a); break;
    case ACCESS_EVENT: result = LEDGER_OK; break;
    case ACCESS_ROTATE_KEY: result = rotate_key(r, a); break;
    }
    return result == LEDGER_OK ? event(r, a) : result;
}
