/* Moving old rows out: copied to the archive file and synced there first, then erased here by the writer, range by range. */
#include "ledger/alerts.h"
#include "ledger/ledger.h"
#include "ledger/schema.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RANGE_ROWS = 2000, RANGES_PER_CHECKPOINT = 50 };

struct mover {
    struct ledger *l;
    sqlite3 *db; /* the archive, with the ledger attached as `live` */
    const char *file;
    int64_t before_us, newest; /* the highest id of a row that old */
};

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool finished;
    enum ledger_result result;
};

static void on_done(struct ledger_op *op, enum ledger_result result)
{
    struct waiter *w = op->user;
    pthread_mutex_lock(&w->lock);
    w->result = result;
    w->finished = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static enum ledger_result submit_and_wait(struct ledger *l, struct ledger_op *op)
{
    struct waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER };
    op->done = on_done;
    op->user = &w;
    ledger_submit(l, op);
    pthread_mutex_lock(&w.lock);
    while (!w.finished)
        pthread_cond_wait(&w.done, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return w.result;
}

static bool bound(struct mover *m, const char *sql, const int64_t *values, int n, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(m->db, sql, -1, &s, NULL);
    for (int i = 0; rc == SQLITE_OK && i < n; i++)
        rc = sqlite3_bind_int64(s, i + 1, values[i]);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW && out)
        *out = sqlite3_column_type(s, 0) == SQLITE_NULL ? -1 : sqlite3_column_int64(s, 0);
    rc = rc == SQLITE_ROW && !out ? SQLITE_DONE : rc;
    bool ok = out ? rc == SQLITE_ROW : rc == SQLITE_DONE;
    sqlite3_finalize(s);
    return ok;
}

/* The next range of ids: no open request in it, so that none can be settled between copying and erasing. Walks the rows by id and stops at
 * the last one old enough, so that all ranges together read each row once. *last is -1 at the end. */
static bool next_range(struct mover *m, int64_t after, int64_t *first, int64_t *last)
{
    int64_t open;
    if (!bound(m, "SELECT (SELECT id FROM live.request_row NOT INDEXED WHERE id > ?1 AND id <= ?3 AND started_us < ?2 AND state <> 0 ORDER BY id LIMIT 1)",
               (int64_t[]){ after, m->before_us, m->newest }, 3, first))
        return false;
    *last = -1;
    if (*first < 0)
        return true;
    if (!bound(m, "SELECT min(id) FROM live.request_row INDEXED BY request_open WHERE state = 0 AND id > ?1", first, 1, &open))
        return false;
    return bound(m, "SELECT max(id) FROM (SELECT id FROM live.request_row NOT INDEXED WHERE id >= ?1 AND id <= ?5 AND (?2 < 0 OR id < ?2)"
                    " AND started_us < ?3 ORDER BY id LIMIT ?4)",
                 (int64_t[]){ *first, open, m->before_us, RANGE_ROWS, m->newest }, 5, last);
}

#define COPY(table, condition) "INSERT OR REPLACE INTO main." table " SELECT * FROM live." table " WHERE " condition

static bool copy_range(struct mover *m, int64_t first, int64_t last, int64_t *last_correction)
{
    static const char *const copies[] = {
        COPY("request_row", "id BETWEEN ?1 AND ?2 AND started_us < ?3 AND state <> 0"),
        COPY("attempt_row", "request IN (SELECT id FROM live.request_row WHERE id BETWEEN ?1 AND ?2 AND started_us < ?3 AND state <> 0)"),
        COPY("correction_row", "request IN (SELECT id FROM live.request_row WHERE id BETWEEN ?1 AND ?2 AND started_us < ?3 AND state <> 0)"),
        COPY("account", "true"), COPY("who", "true"), COPY("target", "true")
    };
    const int64_t values[] = { first, last, m->before_us };
    bool ok = sqlite3_exec(m->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK &&
              bound(m, "SELECT coalesce(max(id), 0) FROM live.correction_row", NULL, 0, last_correction);
    for (int i = 0; ok && i < 6; i++)
        ok = bound(m, copies[i], values, i < 3 ? 3 : 0, NULL);
    ok = ok && sqlite3_exec(m->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    if (!ok && !sqlite3_get_autocommit(m->db))
        sqlite3_exec(m->db, "ROLLBACK", NULL, NULL, NULL);
    return ok;
}

/* 0; 1: the ledger could not be written; -1: the archive's database has the error. */
static int move_alerts(struct mover *m)
{
    struct ledger_op op = { .kind = LEDGER_ERASE_ALERTS };
    int64_t first, last, pending;

    if (!bound(m, "SELECT coalesce(max(id), 0) FROM live.alert", NULL, 0, &last) ||
        !bound(m, "SELECT coalesce(min(id), 1) FROM live.alert", NULL, 0, &first) ||
        !bound(m, "SELECT min(id) FROM live.alert WHERE state = 'pending'", NULL, 0, &pending))
        return -1;
    op.erase.before_us = m->before_us;
    op.erase.last_alert = last;
    if (pending >= 0) /* it can end between copying and erasing */
        last = pending - 1;
    for (op.erase.first = first; op.erase.first <= last; op.erase.first = op.erase.last + 1) {
        op.erase.last = op.erase.first + RANGE_ROWS - 1 < last ? op.erase.first + RANGE_ROWS - 1 : last;
        const int64_t values[] = { op.erase.first, op.erase.last, m->before_us, op.erase.last_alert };
        if (!bound(m, "INSERT OR REPLACE INTO main.alert SELECT * FROM live.alert AS a WHERE " ALERTS_OLD("live.alert"), values, 4, NULL))
            return -1;
        if (sqlite3_changes(m->db) > 0 && submit_and_wait(m->l, &op) != LEDGER_OK)
            return 1;
    }
    return 0;
}

static int move_all(struct mover *m, struct ledger_progress *progress, char *why, size_t why_size)
{
    int64_t first = 0, last = 0;
    if (!bound(m, "SELECT max(id) FROM live.request_row INDEXED BY request_started WHERE started_us < ?1", &m->before_us, 1, &m->newest))
        goto failed;
    for (int ranges = 1;; ranges++) {
        int64_t last_correction = 0, count = 0;
        if (!next_range(m, last, &first, &last))
            break;
        if (last < 0) {
            int rc = move_alerts(m);
            if (rc == 0)
                return 0;
            if (rc < 0)
                break;
            snprintf(why, why_size, "archive %s: alerts are copied, but the ledger cannot be written; run it again", m->file);
            return -1;
        }
        if (atomic_load(&progress->stop)) {
            snprintf(why, why_size, "archive %s: stopped; run it again to move the rest", m->file);
            return -1;
        }
        if (!copy_range(m, first, last, &last_correction) ||
            !bound(m, "SELECT count(*) FROM main.request_row WHERE id BETWEEN ?1 AND ?2", (int64_t[]){ first, last }, 2, &count))
            break;
        struct ledger_op op = { .kind = LEDGER_ERASE };
        op.erase.first = first;
        op.erase.last = last;
        op.erase.before_us = m->before_us;
        op.erase.last_correction = last_correction;
        op.erase.file = slice_cstr(m->file);
        enum ledger_result result = submit_and_wait(m->l, &op);
        if (result == LEDGER_FAILED || result == LEDGER_INVALID) {
            snprintf(why, why_size, "archive %s: rows up to %lld are copied, but the ledger cannot be written; run it again", m->file,
                     (long long)last);
            return -1;
        }
        atomic_fetch_add(&progress->moved, result == LEDGER_OK ? count : 0);
        if (ranges % RANGES_PER_CHECKPOINT == 0)
            sqlite3_wal_checkpoint_v2(m->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
failed:
    snprintf(why, why_size, "archive %s: %s", m->file, sqlite3_errmsg(m->db));
    return -1;
}

int ledger_archive(struct ledger *l, const char *file, int64_t before_us, int64_t *moved, char *why, size_t why_size)
{
    struct ledger_progress progress = { 0 };
    int rc = ledger_archive_watched(l, file, before_us, &progress, why, why_size);
    *moved = atomic_load(&progress.moved);
    return rc;
}

int ledger_archive_watched(struct ledger *l, const char *file, int64_t before_us, struct ledger_progress *progress, char *why, size_t why_size)
{
    struct mover m = { .l = l, .file = file, .before_us = before_us };
    sqlite3_stmt *attach = NULL;
    struct stat asked, ours;
    int rc = -1;
    /* Opening and closing the ledger here would drop SQLite's locks on it. */
    if (stat(file, &asked) == 0 && stat(ledger_file(l), &ours) == 0 && asked.st_dev == ours.st_dev && asked.st_ino == ours.st_ino) {
        snprintf(why, why_size, "archive %s: that is the ledger itself; name another file", file);
        return -1;
    }
    int fd = schema_lock_file(file, why, why_size);
    if (fd < 0)
        return -1;
    m.db = schema_open_writer(file, 0, why, why_size);
    if (!m.db)
        goto out;
    if (sqlite3_prepare_v2(m.db, "ATTACH ?1 AS live", -1, &attach, NULL) != SQLITE_OK ||
        sqlite3_bind_text(attach, 1, ledger_file(l), -1, SQLITE_STATIC) != SQLITE_OK || sqlite3_step(attach) != SQLITE_DONE)
        snprintf(why, why_size, "archive %s: %s", file, sqlite3_errmsg(m.db));
    else
        rc = move_all(&m, progress, why, why_size);
    sqlite3_finalize(attach);
    sqlite3_wal_checkpoint_v2(m.db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
out:
    sqlite3_close(m.db);
    close(fd);
    return rc;
}
