#include "ledger/grid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELLS = 4096, FILL_MAX = 3072, KEYS = 3, SQL_SIZE = 2048 };

struct cell {
    int64_t key[KEYS];
    int64_t sums[GRID_SUMS_MAX];
    bool used;
};

/* Open addressing; `order` lists what is used, so that a small batch touches little. */
struct grid {
    sqlite3_stmt *upsert;
    int sums;
    unsigned count;
    struct cell *order[FILL_MAX];
    struct cell cells[CELLS];
};

/* INSERT ... ON CONFLICT DO UPDATE SET a = a + ?4, ... with the table's own column names. */
static bool upsert_text(sqlite3 *db, const char *table, int sums, char *sql, size_t size)
{
    char ask[128];
    sqlite3_stmt *s = NULL;
    int n = 0;

    snprintf(ask, sizeof ask, "SELECT name FROM pragma_table_info('%s') ORDER BY cid", table);
    size_t used = (size_t)snprintf(sql, size, "INSERT INTO %s VALUES (?1, ?2, ?3", table);
    for (int i = 0; i < sums && used < size; i++)
        used += (size_t)snprintf(sql + used, size - used, ", ?%d", KEYS + 1 + i);
    used += used < size ? (size_t)snprintf(sql + used, size - used, ") ON CONFLICT DO UPDATE SET") : 0;
    if (sqlite3_prepare_v2(db, ask, -1, &s, NULL) != SQLITE_OK)
        return false;
    for (; sqlite3_step(s) == SQLITE_ROW; n++) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        if (n >= KEYS && used < size)
            used += (size_t)snprintf(sql + used, size - used, "%s %s = %s + ?%d", n > KEYS ? "," : "", name, name, n + 1);
    }
    sqlite3_finalize(s);
    return n == KEYS + sums && used < size;
}

struct grid *grid_new(sqlite3 *db, const char *table, int sums)
{
    char sql[SQL_SIZE];
    struct grid *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->sums = sums;
    if (upsert_text(db, table, sums, sql, sizeof sql) &&
        sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &g->upsert, NULL) == SQLITE_OK)
        return g;
    grid_free(g);
    return NULL;
}

void grid_free(struct grid *g)
{
    if (!g)
        return;
    sqlite3_finalize(g->upsert);
    free(g);
}

void grid_forget(struct grid *g)
{
    for (unsigned i = 0; i < g->count; i++)
        g->order[i]->used = false;
    g->count = 0;
}

static int by_key(const void *a, const void *b)
{
    const struct cell *x = *(const struct cell *const *)a, *y = *(const struct cell *const *)b;
    for (int k = 0; k < KEYS; k++)
        if (x->key[k] != y->key[k])
            return x->key[k] < y->key[k] ? -1 : 1;
    return 0;
}

int grid_flush(struct grid *g)
{
    int rc = SQLITE_DONE;
    if (g->count > 1)
        qsort(g->order, g->count, sizeof *g->order, by_key); /* neighbours share pages */
    for (unsigned i = 0; i < g->count && rc == SQLITE_DONE; i++) {
        const struct cell *c = g->order[i];
        for (int k = 0; k < KEYS; k++)
            sqlite3_bind_int64(g->upsert, 1 + k, c->key[k]);
        for (int k = 0; k < g->sums; k++)
            sqlite3_bind_int64(g->upsert, 1 + KEYS + k, c->sums[k]);
        rc = sqlite3_step(g->upsert);
        sqlite3_reset(g->upsert);
    }
    if (rc != SQLITE_DONE)
        return rc;
    grid_forget(g);
    return SQLITE_OK;
}

int grid_add(struct grid *g, const int64_t key[3], const int64_t *sums)
{
    if (g->count == FILL_MAX) {
        int rc = grid_flush(g);
        if (rc != SQLITE_OK)
            return rc;
    }
    uint64_t h = ((uint64_t)key[0] * 0x9E3779B97F4A7C15u) ^ ((uint64_t)key[1] * 0xC2B2AE3D27D4EB4Fu) ^ ((uint64_t)key[2] * 0x165667B19E3779F9u);
    size_t i = (h ^ h >> 32) % CELLS;
    struct cell *c = &g->cells[i];
    while (c->used && memcmp(c->key, key, sizeof c->key) != 0) {
        i = (i + 1) % CELLS;
        c = &g->cells[i];
    }
    if (!c->used) {
        *c = (struct cell){ .used = true };
        memcpy(c->key, key, sizeof c->key);
        g->order[g->count++] = c;
    }
    for (int k = 0; k < g->sums; k++)
        c->sums[k] += sums[k];
    return SQLITE_OK;
}
