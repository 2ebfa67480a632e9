#include "admin/tollgatectl_book.h"

#include "admin/rpc.h"
#include "admin/tollgatectl_audit.h"
#include "base/clock.h"
#include "ledger/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { RPC_TIMEOUT_S = 10, PER_CALL = 500, WAIT_S = 30, POLL_US = 20000 };

enum keeper { KEPT_BY_NOBODY, KEPT_BY_AGENT, KEPT_UNKNOWN };

static enum keeper keeper_of(const struct ctl_place *p)
{
    int fd = open(p->file, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        fprintf(stderr, "tollgatectl: ledger %s: %s\n", p->file, strerror(errno));
        return KEPT_UNKNOWN;
    }
    enum keeper k = flock(fd, LOCK_EX | LOCK_NB) == 0 ? KEPT_BY_NOBODY : KEPT_BY_AGENT;
    close(fd);
    return k;
}

/* ---- without an agent -------------------------------------------------------------------------------------------- */

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t come;
    size_t missing, refused;
    enum ledger_result worst;
};

static void on_done(struct ledger_op *op, enum ledger_result result)
{
    struct waiting *w = op->user;

    pthread_mutex_lock(&w->lock);
    w->refused += result != LEDGER_OK;
    if (result != LEDGER_OK)
        w->worst = result;
    if (--w->missing == 0)
        pthread_cond_signal(&w->come);
    pthread_mutex_unlock(&w->lock);
}

static bool write_offline(const struct ctl_place *p, struct ledger_op *ops, size_t count)
{
    struct waiting w = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, count, 0, LEDGER_OK };
    static const char *const reasons[] = { "", "requests of that time are open", "not valid", "the ledger cannot be written" };
    bool reprice = ops[0].kind == LEDGER_CORRECTION;
    char why[400];

    snprintf(why, sizeof why, "%zu %s", count, reprice ? "corrections" : "month");
    if (!ctl_audit_offline(p, reprice ? "reprice" : "close_month", p->file, why))
        return false;
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = p->file }, why, sizeof why);

    if (l == NULL) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        ops[i].done = on_done;
        ops[i].user = &w;
        ledger_submit(l, &ops[i]);
    }
    pthread_mutex_lock(&w.lock);
    while (w.missing > 0)
        pthread_cond_wait(&w.come, &w.lock);
    pthread_mutex_unlock(&w.lock);
    ledger_close(l);
    if (w.refused > 0)
        fprintf(stderr, "tollgatectl: ledger %s: %zu of %zu refused: %s\n", p->file, w.refused, count, reasons[w.worst]);
    return w.refused == 0;
}

/* ---- through the agent ------------------------------------------------------------------------------------------- */

static bool call(const struct ctl_place *p, const char *method, const char *const *params, size_t count)
{
    msgpack_unpacked held;
    msgpack_object result;
    char why[512];

    bool ok = rpc_call(p->admin, method, params, count, RPC_TIMEOUT_S, &held, &result, why, sizeof why);
    if (!ok)
        fprintf(stderr, "tollgatectl: an agent keeps ledger %s, so it has to write: %s\n", p->file, why);
    msgpack_unpacked_destroy(&held);
    return ok;
}

static int64_t ask(const struct ctl_place *p, const char *sql, int64_t parameter)
{
    sqlite3 *db = ctl_ledger_open(p);
    sqlite3_stmt *s = NULL;
    int64_t v = -1;

    if (db != NULL && sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK) {
        if (sqlite3_bind_parameter_count(s) > 0)
            sqlite3_bind_int64(s, 1, parameter);
        if (sqlite3_step(s) == SQLITE_ROW)
            v = sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    return v;
}

/* The agent has accepted; the file tells when it is written. */
static bool wait_for(const struct ctl_place *p, const char *sql, int64_t parameter, int64_t expected)
{
    int64_t end = clock_mono_us() + WAIT_S * INT64_C(1000000);

    while (ask(p, sql, parameter) < expected) {
        if (clock_mono_us() > end)
            return false;
        usleep(POLL_US);
    }
    return true;
}

static bool reprice_by_agent(const struct ctl_place *p, const struct ctl_correction *c, size_t count)
{
    static const char written[] = "SELECT count(*) FROM correction_row WHERE id > ?1 AND reason = 'repriced'";
    const char *params[PER_CALL + 1];
    char (*texts)[128] = calloc(PER_CALL, sizeof *texts), *path = realpath(p->file, NULL);
    int64_t last = ask(p, "SELECT coalesce(max(id), 0) FROM correction_row", 0);
    bool ok = texts != NULL && path != NULL && last >= 0;

    params[0] = path;
    for (size_t at = 0; ok && at < count;) {
        size_t n = count - at < PER_CALL ? count - at : PER_CALL;
        for (size_t i = 0; i < n; i++, at++) {
            snprintf(texts[i], sizeof texts[i], "%" PRId64 " %" PRId64 " %d %" PRId64 " %" PRId64, c[at].request, c[at].cost_nano, (int)c[at].known_by,
                     c[at].version, c[at].discount_nano);
            params[i + 1] = texts[i];
        }
        ok = call(p, "reprice", params, n + 1);
    }
    if (ok && !wait_for(p, written, last, (int64_t)count)) {
        fprintf(stderr, "tollgatectl: not all corrections are in the ledger yet; tollgatectl status says whether it is failing, the agent's log what "
                        "was refused; run this again, only what is missing will be booked\n");
        ok = false;
    }
    free(texts);
    free(path);
    return ok;
}

bool ctl_book_repriced(const struct ctl_place *p, const struct ctl_correction *c, size_t count)
{
    enum keeper k = keeper_of(p);

    if (k != KEPT_BY_NOBODY)
        return k == KEPT_BY_AGENT && reprice_by_agent(p, c, count);
    struct ledger_op *ops = calloc(count, sizeof *ops);
    if (ops == NULL) {
        fprintf(stderr, "tollgatectl: out of memory\n");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        ops[i].kind = LEDGER_CORRECTION;
        ops[i].correction = (struct ledger_correction){ .id = c[i].request, .booked_us = clock_wall_us(), .reason = SLICE_LIT("repriced"),
                                                        .known_by = c[i].known_by, .cost_nano = c[i].cost_nano, .price_version = c[i].version,
                                                        .discount_nano = c[i].discount_nano };
    }
    bool ok = write_offline(p, ops, count);
    free(ops);
    return ok;
}

bool ctl_book_close(const struct ctl_place *p, int64_t before_us)
{
    struct ledger_op op = { .kind = LEDGER_CLOSE_MONTH, .close = { before_us, clock_wall_us() } };
    enum keeper k = keeper_of(p);
    char text[32], *path;

    if (k == KEPT_BY_NOBODY)
        return write_offline(p, &op, 1);
    if (k == KEPT_UNKNOWN || (path = realpath(p->file, NULL)) == NULL)
        return false;
    snprintf(text, sizeof text, "%" PRId64, before_us);
    const char *const params[] = { path, text };
    bool ok = call(p, "close_month", params, 2);
    free(path);
    if (ok && !wait_for(p, "SELECT count(*) FROM month_close WHERE before_us = ?1", before_us, 1)) {
        fprintf(stderr, "tollgatectl: the agent did not close the month: a request of that time is open, or the ledger is failing (tollgatectl "
                        "status)\n");
        ok = false;
    }
    return ok;
}
