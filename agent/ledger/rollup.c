#include "ledger/rollup.h"

#include <stdlib.h>

enum { CELLS = 4096, FILL_MAX = 3072, QUARTER_S = 900, DAY_S = 86400 };

struct cell {
    int64_t slot, who, target;
    int64_t sums[SUMS];
    bool used;
};

/* Open addressing; `order` lists what is used, so that a small batch touches little. */
struct grid {
    sqlite3_stmt *upsert;
    int64_t seconds;
    struct cell cells[CELLS];
    uint16_t order[FILL_MAX];
    unsigned count;
};

struct rollup {
    struct grid quarter, day;
};

#define UPSERT(table)                                                                                                  \
    "INSERT INTO " table " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"              \
    " ON CONFLICT DO UPDATE SET settled = settled + ?4, denied = denied + ?5, corrections = corrections + ?6,"          \
    " input = input + ?7, input_cached = input_cached + ?8, input_cache_write = input_cache_write + ?9,"                \
    " input_cache_write_1h = input_cache_write_1h + ?10, output = output + ?11, output_reasoning = output_reasoning + ?12," \
    " input_audio = input_audio + ?13, output_audio = output_audio + ?14, cost_nano = cost_nano + ?15,"                 \
    " saved_nano = saved_nano + ?16"

struct rollup *rollup_new(sqlite3 *db)
{
    struct rollup *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->quarter.seconds = QUARTER_S;
    u->day.seconds = DAY_S;
    if (sqlite3_prepare_v3(db, UPSERT("rollup_row"), -1, SQLITE_PREPARE_PERSISTENT, &u->quarter.upsert, NULL) == SQLITE_OK &&
        sqlite3_prepare_v3(db, UPSERT("rollup_day_row"), -1, SQLITE_PREPARE_PERSISTENT, &u->day.upsert, NULL) == SQLITE_OK)
        return u;
    rollup_free(u);
    return NULL;
}

void rollup_free(struct rollup *u)
{
    if (!u)
        return;
    sqlite3_finalize(u->quarter.upsert);
    sqlite3_finalize(u->day.upsert);
    free(u);
}

static void grid_forget(struct grid *g)
{
    for (unsigned i = 0; i < g->count; i++)
        g->cells[g->order[i]].used = false;
    g->count = 0;
}

void rollup_forget(struct rollup *u)
{
    grid_forget(&u->quarter);
    grid_forget(&u->day);
}

static int grid_flush(struct grid *g)
{
    int rc = SQLITE_DONE;
    for (unsigned i = 0; i < g->count && rc == SQLITE_DONE; i++) {
        const struct cell *c = &g->cells[g->order[i]];
        sqlite3_bind_int64(g->upsert, 1, c->slot);
        sqlite3_bind_int64(g->upsert, 2, c->who);
        sqlite3_bind_int64(g->upsert, 3, c->target);
        for (int k = 0; k < SUMS; k++)
            sqlite3_bind_int64(g->upsert, 4 + k, c->sums[k]);
        rc = sqlite3_step(g->upsert);
        sqlite3_reset(g->upsert);
    }
    if (rc != SQLITE_DONE)
        return rc;
    grid_forget(g);
    return SQLITE_OK;
}

int rollup_flush(struct rollup *u)
{
    int rc = grid_flush(&u->quarter);
    return rc == SQLITE_OK ? grid_flush(&u->day) : rc;
}

static int grid_add(struct grid *g, int64_t time_us, int64_t who, int64_t target, const int64_t sums[SUMS])
{
    if (g->count == FILL_MAX) {
        int rc = grid_flush(g);
        if (rc != SQLITE_OK)
            return rc;
    }
    int64_t slot = time_us / 1000000 / g->seconds * g->seconds;
    uint64_t h = ((uint64_t)slot * 0x9E3779B97F4A7C15u) ^ ((uint64_t)who * 0xC2B2AE3D27D4EB4Fu) ^ ((uint64_t)target * 0x165667B19E3779F9u);
    size_t i = (h ^ h >> 32) % CELLS;
    struct cell *c = &g->cells[i];
    while (c->used && (c->slot != slot || c->who != who || c->target != target)) {
        i = (i + 1) % CELLS;
        c = &g->cells[i];
    }
    if (!c->used) {
        *c = (struct cell){ .slot = slot, .who = who, .target = target, .used = true };
        g->order[g->count++] = (uint16_t)i;
    }
    for (int k = 0; k < SUMS; k++)
        c->sums[k] += sums[k];
    return SQLITE_OK;
}

int rollup_add(struct rollup *u, int64_t time_us, int64_t who, int64_t account, int64_t target, const int64_t sums[SUMS])
{
    int rc = grid_add(&u->quarter, time_us, who, target, sums);
    return rc == SQLITE_OK ? grid_add(&u->day, time_us, account, target, sums) : rc;
}
