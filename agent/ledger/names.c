#include "ledger/names.h"

#include "ledger/statements.h"

#include <stdlib.h>

enum { NAME_MAX_BYTES = 1024, WHO_FIELDS = 7, ACCOUNT_FIELDS = 4, TARGET_FIELDS = 4, CACHE_SLOTS = 8192, ACCOUNT_SLOTS = 8192 };

enum statement { FIND_WHO, ADD_WHO, FIND_ACCOUNT, ADD_ACCOUNT, FIND_TARGET, ADD_TARGET, ACCOUNT_OF, STATEMENTS };

static const char *const sql[STATEMENTS] = {
    [FIND_WHO] = "SELECT id, account FROM who WHERE organization = ?1 AND team = ?2 AND user_name = ?3 AND application = ?4"
                 " AND cost_center = ?5 AND subject = ?6 AND issuer = ?7",
    [ADD_WHO] = "INSERT INTO who (organization, team, user_name, application, cost_center, subject, issuer, account)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [FIND_ACCOUNT] = "SELECT id FROM account WHERE organization = ?1 AND team = ?2 AND application = ?3 AND cost_center = ?4",
    [ADD_ACCOUNT] = "INSERT INTO account (organization, team, application, cost_center) VALUES (?1, ?2, ?3, ?4)",
    [FIND_TARGET] = "SELECT id FROM target WHERE grp = ?1 AND provider = ?2 AND model = ?3 AND key_name = ?4",
    [ADD_TARGET] = "INSERT INTO target (grp, provider, model, key_name) VALUES (?1, ?2, ?3, ?4)",
    [ACCOUNT_OF] = "SELECT account FROM who WHERE id = ?1"
};

/* The key is the fields, each behind its length. */
struct entry {
    char *key;
    size_t size;
    int64_t id, account;
};

struct names {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct entry cache[CACHE_SLOTS];
    struct { int64_t who, account; } accounts[ACCOUNT_SLOTS];
    char key[WHO_FIELDS * (NAME_MAX_BYTES + 2)];
    size_t key_size;
};

struct names *names_new(sqlite3 *db)
{
    struct names *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->db = db;
    if (statements_prepare(db, sql, STATEMENTS, n->statements))
        return n;
    names_free(n);
    return NULL;
}

void names_free(struct names *n)
{
    if (!n)
        return;
    names_forget(n);
    statements_end(n->statements, STATEMENTS);
    free(n);
}

void names_forget(struct names *n)
{
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        free(n->cache[i].key);
    memset(n->cache, 0, sizeof n->cache);
    memset(n->accounts, 0, sizeof n->accounts);
}

static bool make_key(struct names *n, const struct slice *fields, int count)
{
    n->key_size = 0;
    for (int i = 0; i < count; i++) {
        if (fields[i].n > NAME_MAX_BYTES)
            return false;
        n->key[n->key_size++] = (char)(fields[i].n >> 8);
        n->key[n->key_size++] = (char)fields[i].n;
        if (fields[i].n)
            memcpy(n->key + n->key_size, fields[i].p, fields[i].n);
        n->key_size += fields[i].n;
    }
    return true;
}

static struct entry *slot_of(struct names *n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n->key_size; i++)
        h = (h ^ (unsigned char)n->key[i]) * 1099511628211u;
    return &n->cache[(h ^ h >> 29) % CACHE_SLOTS];
}

static bool hit(const struct names *n, const struct entry *e)
{
    return e->key && e->size == n->key_size && memcmp(e->key, n->key, n->key_size) == 0;
}

/* The cache only saves time: without memory it stays empty. */
static void remember(const struct names *n, struct entry *e, int64_t id, int64_t account)
{
    char *key = malloc(n->key_size);
    free(e->key);
    e->key = key;
    if (!key)
        return;
    memcpy(key, n->key, n->key_size);
    e->size = n->key_size;
    e->id = id;
    e->account = account;
}

static void bind_fields(sqlite3_stmt *s, const struct slice *fields, int count)
{
    for (int i = 0; i < count; i++)
        sqlite3_bind_text(s, i + 1, fields[i].n ? fields[i].p : "", (int)fields[i].n, SQLITE_STATIC);
}

/* Finds a row by its names. SQLITE_ROW with *id (and *second), SQLITE_DONE when there is none, or an error. */
static int find(sqlite3_stmt *s, const struct slice *fields, int count, int64_t *id, int64_t *second)
{
    bind_fields(s, fields, count);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        *id = sqlite3_column_int64(s, 0);
        if (second)
            *second = sqlite3_column_int64(s, 1);
    }
    sqlite3_reset(s);
    return rc;
}

static int add(struct names *n, sqlite3_stmt *s, const struct slice *fields, int count, int64_t *id)
{
    bind_fields(s, fields, count);
    int rc = sqlite3_step(s);
    *id = sqlite3_last_insert_rowid(n->db);
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int find_or_add(struct names *n, enum statement finder, enum statement adder, const struct slice *fields, int count, int64_t *id)
{
    int rc = find(n->statements[finder], fields, count, id, NULL);
    if (rc == SQLITE_DONE)
        return add(n, n->statements[adder], fields, count, id);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int names_who(struct names *n, const struct ledger_who *w, int64_t *id, int64_t *account)
{
    const struct slice fields[WHO_FIELDS] = { w->organization, w->team, w->user, w->application, w->cost_center, w->subject, w->issuer };
    const struct slice charged[ACCOUNT_FIELDS] = { w->organization, w->team, w->application, w->cost_center };
    if (!make_key(n, fields, WHO_FIELDS))
        return SQLITE_TOOBIG;
    struct entry *e = slot_of(n);
    if (hit(n, e)) {
        *id = e->id;
        *account = e->account;
        return SQLITE_OK;
    }
    int rc = find(n->statements[FIND_WHO], fields, WHO_FIELDS, id, account);
    if (rc == SQLITE_DONE) {
        rc = find_or_add(n, FIND_ACCOUNT, ADD_ACCOUNT, charged, ACCOUNT_FIELDS, account);
        if (rc == SQLITE_OK) {
            sqlite3_bind_int64(n->statements[ADD_WHO], WHO_FIELDS + 1, *account);
            rc = add(n, n->statements[ADD_WHO], fields, WHO_FIELDS, id);
        }
    } else if (rc == SQLITE_ROW) {
        rc = SQLITE_OK;
    }
    if (rc == SQLITE_OK)
        remember(n, e, *id, *account);
    return rc;
}

int names_target(struct names *n, const struct ledger_target *t, int64_t *id)
{
    const struct slice fields[TARGET_FIELDS] = { t->group, t->provider, t->model, t->key };
    *id = 0;
    if (t->group.n == 0 && t->provider.n == 0 && t->model.n == 0)
        return SQLITE_OK;
    if (!make_key(n, fields, TARGET_FIELDS))
        return SQLITE_TOOBIG;
    struct entry *e = slot_of(n);
    if (hit(n, e)) {
        *id = e->id;
        return SQLITE_OK;
    }
    int rc = find_or_add(n, FIND_TARGET, ADD_TARGET, fields, TARGET_FIELDS, id);
    if (rc == SQLITE_OK)
        remember(n, e, *id, 0);
    return rc;
}

int names_account_of(struct names *n, int64_t who, int64_t *account)
{
    size_t i = (uint64_t)who % ACCOUNT_SLOTS;
    if (n->accounts[i].who == who && who != 0) {
        *account = n->accounts[i].account;
        return SQLITE_OK;
    }
    sqlite3_stmt *s = n->statements[ACCOUNT_OF];
    sqlite3_bind_int64(s, 1, who);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        *account = sqlite3_column_int64(s, 0);
        n->accounts[i].who = who;
        n->accounts[i].account = *account;
    }
    sqlite3_reset(s);
    return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}
