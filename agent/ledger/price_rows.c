#include "ledger/price_rows.h"

#include "ledger/statements.h"

#include <stdlib.h>

enum { ADD_VERSION, ADD_PRICE, ADD_CONTRACT, ADD_VALIDITY, STATEMENTS };

static const char *const sql[STATEMENTS] = {
    [ADD_VERSION] = "INSERT OR IGNORE INTO price_version (id, hash, source, models, imported_us) VALUES (?1, ?2, ?3, ?4, ?5)",
    [ADD_PRICE] = "INSERT INTO price VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
    [ADD_CONTRACT] = "INSERT INTO price_contract VALUES (?1, ?2, ?3, ?4)",
    [ADD_VALIDITY] = "INSERT INTO price_validity (version, valid_from_us, imported_us) VALUES (?1, ?2, ?3)",
};

struct price_rows {
    sqlite3 *db;
    sqlite3_stmt *s[STATEMENTS];
};

struct price_rows *price_rows_new(sqlite3 *db)
{
    struct price_rows *r = calloc(1, sizeof *r);

    if (r != NULL && statements_prepare(db, sql, STATEMENTS, r->s)) {
        r->db = db;
        return r;
    }
    price_rows_free(r);
    return NULL;
}

void price_rows_free(struct price_rows *r)
{
    if (r == NULL)
        return;
    statements_end(r->s, STATEMENTS);
    free(r);
}

static int write_price(struct price_rows *r, int64_t version, const struct model_price *m, unsigned tier)
{
    sqlite3_stmt *s = r->s[ADD_PRICE];
    const struct price_rates *rates = tier ? &m->tiers[tier - 1].rates : &m->base;
    const int64_t rest[] = { m->request_pico, m->published, (int64_t)m->status, m->overridden, m->context, m->input_limit, m->output_limit, m->image_pico,
                             m->image_out_pico, m->image_token_pico };

    sqlite3_bind_int64(s, 1, version);
    statement_bind_text(s, 2, m->provider);
    statement_bind_text(s, 3, m->model);
    sqlite3_bind_int64(s, 4, tier);
    sqlite3_bind_int64(s, 5, tier ? m->tiers[tier - 1].above : 0);
    for (int k = 0; k < PRICE_KINDS; k++)
        sqlite3_bind_int64(s, 6 + k, rates->pico[k]);
    for (int k = 0; k < (int)(sizeof rest / sizeof *rest); k++)
        sqlite3_bind_int64(s, 6 + PRICE_KINDS + k, rest[k]);
    return rows_run(s);
}

static int write_contract(struct price_rows *r, const struct ledger_prices *p, size_t i)
{
    sqlite3_stmt *s = r->s[ADD_CONTRACT];
    struct slice name, terms;

    p->contract_at(p->table, i, &name, &terms);
    sqlite3_bind_int64(s, 1, p->id);
    sqlite3_bind_int64(s, 2, (int64_t)i);
    statement_bind_text(s, 3, name);
    statement_bind_whole(s, 4, terms); /* JSON: a part of it could not be read back */
    return rows_run(s);
}

int price_rows_write(struct price_rows *r, const struct ledger_prices *p)
{
    sqlite3_stmt *s = r->s[ADD_VERSION];

    sqlite3_bind_int64(s, 1, p->id);
    statement_bind_text(s, 2, p->hash);
    statement_bind_text(s, 3, p->source);
    sqlite3_bind_int64(s, 4, (int64_t)p->count);
    sqlite3_bind_int64(s, 5, p->imported_us);
    int result = rows_run(s);
    bool fresh = sqlite3_changes(r->db) == 1;
    for (size_t i = 0; fresh && result == LEDGER_OK && i < p->count; i++) {
        const struct model_price *m = p->at(p->table, i);
        for (unsigned tier = 0; result == LEDGER_OK && tier <= m->tier_count; tier++)
            result = write_price(r, p->id, m, tier);
    }
    for (size_t i = 0; fresh && result == LEDGER_OK && i < p->contracts; i++)
        result = write_contract(r, p, i);
    if (p->valid_from_us == 0)
        return result;
    sqlite3_bind_int64(r->s[ADD_VALIDITY], 1, p->id);
    sqlite3_bind_int64(r->s[ADD_VALIDITY], 2, p->valid_from_us);
    sqlite3_bind_int64(r->s[ADD_VALIDITY], 3, p->imported_us);
    return result == LEDGER_OK ? rows_run(r->s[ADD_VALIDITY]) : result;
}
