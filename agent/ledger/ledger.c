#include "ledger/ledger.h"

#include "base/clock.h"
#include "ledger/checkpoint.h"
#include "ledger/rows.h"
#include "ledger/schema.h"
#include "ledger/statements.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROLLUP_LAG = 16384, ROLLUP_CHUNK = 1024, ROLLUP_OVERDUE = 4 };
enum { BUSY_MS = 200, BATCH_MAX = 1024, RETRY_MAX = 100000, BACKOFF_MIN_US = 20000, BACKOFF_MAX_US = 1000000 };

struct queue {
    struct ledger_op *head, **tail;
    size_t count;
};

enum statement { BEGIN, COMMIT, ROLLBACK, PROBE, STATEMENTS };

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PROBE] = "UPDATE ledger_note SET value = value + 1 WHERE name = 'probe'"
};

struct ledger {
    struct ledger_options options;
    char *file, *wal_file;
    int lock_fd;
    _Atomic int64_t next_id;
    pthread_t thread;

    pthread_mutex_t lock; /* guards the next eight */
    pthread_cond_t wake;
    struct queue incoming;
    size_t in_hand;       /* taken from it, not answered yet */
    int64_t waiting_since_us, in_hand_since_us; /* monotonic: when their oldest operation came, at the earliest */
    bool stop;
    struct ledger_status status;

    /* The writer thread's own. */
    sqlite3 *db;
    sqlite3_stmt *s[STATEMENTS];
    struct rows *rows;
    struct checkpoint *checkpoint;
    struct queue kept;    /* operations that must not be lost, in order, behind which everything of their kinds waits */
    bool failing;
    int64_t backoff_us, retry_at_us; /* monotonic; meaningful while failing */
    int64_t roll_up_at_us;           /* monotonic; not before */
    char error[160];
};

/* ---- queues ------------------------------------------------------------------------------------------------------ */

static void queue_init(struct queue *q)
{
    *q = (struct queue){ NULL, &q->head, 0 };
}

static void queue_push(struct queue *q, struct ledger_op *op)
{
    op->next = NULL;
    *q->tail = op;
    q->tail = &op->next;
    q->count++;
}

static struct ledger_op *queue_pop(struct queue *q)
{
    struct ledger_op *op = q->head;
    if (!op)
        return NULL;
    q->head = op->next;
    if (!q->head)
        q->tail = &q->head;
    q->count--;
    op->next = NULL;
    return op;
}

/* Puts all of `front` before `q`. */
static void queue_prepend(struct queue *q, struct queue *front)
{
    if (!front->head)
        return;
    *front->tail = q->head;
    if (!q->head)
        q->tail = front->tail;
    q->head = front->head;
    q->count += front->count;
    queue_init(front);
}

static void finish(struct ledger_op *op, enum ledger_result result)
{
    if (op->done)
        op->done(op, result);
}

/* Facts that have happened are kept and written later; questions ("may it?") are answered now. */
static bool must_keep(const struct ledger_op *op)
{
    return op->kind == LEDGER_SETTLEMENT || op->kind == LEDGER_ATTEMPT || op->kind == LEDGER_CORRECTION ||
           op->kind == LEDGER_ALERT;
}

/* ---- one transaction --------------------------------------------------------------------------------------------- */

static bool step(struct ledger *l, enum statement which)
{
    int rc = sqlite3_step(l->s[which]);
    if (rc != SQLITE_DONE)
        snprintf(l->error, sizeof l->error, "%s", sqlite3_errmsg(l->db));
    sqlite3_reset(l->s[which]);
    return rc == SQLITE_DONE;
}

static void roll_back(struct ledger *l)
{
    if (!sqlite3_get_autocommit(l->db)) { /* some errors have rolled back by themselves */
        sqlite3_step(l->s[ROLLBACK]);
        sqlite3_reset(l->s[ROLLBACK]);
    }
    rows_forget(l->rows);
}

/* Writes and commits the batch, or nothing of it (then l->error says why). Results are left in the operations. */
static bool transact(struct ledger *l, const struct queue *batch)
{
    if (!step(l, BEGIN))
        return false;
    bool ok = batch->count > 0 || step(l, PROBE);
    for (struct ledger_op *op = batch->head; ok && op; op = op->next) {
        int result = rows_write(l->rows, op);
        ok = result != ROWS_TRANSACTION_FAILED;
        op->result = ok ? (enum ledger_result)result : LEDGER_FAILED;
    }
    ok = ok && rows_flush(l->rows) == 0;
    if (!ok && l->error[0] == '\0')
        snprintf(l->error, sizeof l->error, "%s", sqlite3_errmsg(l->db));
    ok = ok && step(l, COMMIT);
    if (ok)
        return true;
    roll_back(l);
    return false;
}

static void note_success(struct ledger *l, size_t rows, int64_t us)
{
    bool recovered = l->failing;
    struct ledger_status now;
    l->failing = false;
    pthread_mutex_lock(&l->lock);
    struct ledger_status *s = &l->status;
    s->failing = false;
    s->failing_since_us = 0;
    s->batches++;
    s->rows += rows;
    s->last_batch = (int64_t)rows;
    s->last_commit_us = us;
    s->max_commit_us = us > s->max_commit_us ? us : s->max_commit_us;
    s->retrying = l->kept.count;
    s->queued = l->incoming.count;
    now = *s;
    pthread_mutex_unlock(&l->lock);
    if (recovered && l->options.on_state)
        l->options.on_state(l->options.user, &now);
}

static void note_failure(struct ledger *l)
{
    bool first = !l->failing;
    struct ledger_status now;
    l->backoff_us = first ? BACKOFF_MIN_US : l->backoff_us * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : l->backoff_us * 2;
    l->retry_at_us = clock_mono_us() + l->backoff_us;
    l->failing = true;
    pthread_mutex_lock(&l->lock);
    struct ledger_status *s = &l->status;
    if (first)
        s->failing_since_us = clock_wall_us();
    s->failing = true;
    s->failures++;
    s->queued = l->incoming.count;
    memcpy(s->error, l->error, sizeof s->error);
    now = *s;
    pthread_mutex_unlock(&l->lock);
    if (first && l->options.on_state)
        l->options.on_state(l->options.user, &now);
}

/* Keeps what must not be lost, in order; when there is too much of it, the newest is given up. */
static void keep(struct ledger *l, struct queue *q)
{
    struct queue front;
    uint64_t dropped = 0;
    queue_init(&front);
    for (struct ledger_op *op; (op = queue_pop(q));) {
        if (!must_keep(op)) {
            finish(op, LEDGER_FAILED);
        } else if (l->kept.count + front.count >= l->options.retry_max) {
            dropped++;
            finish(op, LEDGER_FAILED);
        } else {
            queue_push(&front, op);
        }
    }
    queue_prepend(&l->kept, &front);
    pthread_mutex_lock(&l->lock);
    l->status.dropped += dropped;
    l->status.retrying = l->kept.count;
    pthread_mutex_unlock(&l->lock);
}

static void write_batch(struct ledger *l, struct queue *batch)
{
    size_t rows = batch->count;
    l->error[0] = '\0';
    int64_t before = clock_mono_us();
    if (!transact(l, batch)) {
        note_failure(l); /* before anybody hears of it */
        keep(l, batch);
        return;
    }
    note_success(l, rows, clock_mono_us() - before);
    for (struct ledger_op *op; (op = queue_pop(batch));)
        finish(op, op->result);
    checkpoint_turn(l->checkpoint);
}

/* Between two batches, when nobody waits or too much has gathered. Not to succeed hurts nobody: readers sum what is not in roll-ups. */
static void roll_up(struct ledger *l)
{
    int64_t due = rows_rollup_due(l->rows);
    if (l->failing || due == 0 || clock_mono_us() < l->roll_up_at_us)
        return;
    pthread_mutex_lock(&l->lock);
    bool busy = l->incoming.head != NULL;
    pthread_mutex_unlock(&l->lock);
    if (busy && due < ROLLUP_OVERDUE)
        return;
    if (step(l, BEGIN) && rows_roll_up(l->rows) == 0 && step(l, COMMIT))
        return;
    roll_back(l);
    l->roll_up_at_us = clock_mono_us() + BACKOFF_MAX_US;
    pthread_mutex_lock(&l->lock);
    l->status.failures++;
    pthread_mutex_unlock(&l->lock);
}

/* ---- the writer thread ------------------------------------------------------------------------------------------- */

/* Waits until there is something to do; takes at most `batch_max` operations. False: stop, and nothing is left. */
static bool take(struct ledger *l, struct queue *in, bool *stop)
{
    queue_init(in);
    pthread_mutex_lock(&l->lock);
    l->in_hand = 0;
    while (!l->incoming.head && !l->stop && !(l->kept.head && !l->failing)) {
        if (!l->failing) {
            pthread_cond_wait(&l->wake, &l->lock);
            continue;
        }
        int64_t us = l->retry_at_us;
        struct timespec until = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
        if (us <= clock_mono_us() || pthread_cond_timedwait(&l->wake, &l->lock, &until) != 0)
            break;
    }
    l->in_hand_since_us = l->waiting_since_us;
    while (l->incoming.head && in->count < l->options.batch_max)
        queue_push(in, queue_pop(&l->incoming));
    *stop = l->stop;
    l->in_hand = in->count;
    pthread_mutex_unlock(&l->lock);
    return in->head || !*stop;
}

/* Sorts what came in: facts go behind those that are kept already, or are given up when these are too many. */
static void absorb(struct ledger *l, struct queue *in, struct queue *questions)
{
    uint64_t dropped = 0;
    for (struct ledger_op *op; (op = queue_pop(in));) {
        if (!must_keep(op)) {
            queue_push(questions, op);
        } else if (l->kept.count < l->options.retry_max) {
            queue_push(&l->kept, op);
        } else {
            dropped++;
            finish(op, LEDGER_FAILED);
        }
    }
    pthread_mutex_lock(&l->lock);
    l->status.dropped += dropped;
    l->status.retrying = l->kept.count;
    pthread_mutex_unlock(&l->lock);
}

/* What goes into the next transaction: first what is kept; new facts must not overtake it. */
static void compose(struct ledger *l, struct queue *in, struct queue *batch)
{
    struct queue questions;
    queue_init(batch);
    queue_init(&questions);
    if (l->kept.head)
        absorb(l, in, &questions);
    while (l->kept.head && batch->count < l->options.batch_max)
        queue_push(batch, queue_pop(&l->kept));
    for (struct ledger_op *op; (op = queue_pop(&questions)) || (op = queue_pop(in));)
        queue_push(batch, op);
}

/* Between two tries of a failing ledger: refuse the questions, keep the facts. */
static void refuse(struct ledger *l, struct queue *in)
{
    struct queue questions;
    queue_init(&questions);
    absorb(l, in, &questions);
    for (struct ledger_op *op; (op = queue_pop(&questions));)
        finish(op, LEDGER_FAILED);
}

static void give_up_rest(struct ledger *l)
{
    uint64_t dropped = l->kept.count;
    for (struct ledger_op *op; (op = queue_pop(&l->kept));)
        finish(op, LEDGER_FAILED);
    pthread_mutex_lock(&l->lock);
    l->status.dropped += dropped;
    pthread_mutex_unlock(&l->lock);
}

static void *run(void *user)
{
    struct ledger *l = user;
    struct queue in, batch;
    bool stop;
    while (take(l, &in, &stop)) {
        if (l->failing && clock_mono_us() < l->retry_at_us && !stop) {
            refuse(l, &in);
            continue;
        }
        compose(l, &in, &batch);
        write_batch(l, &batch);
        roll_up(l);
    }
    for (size_t last = l->kept.count + 1; l->kept.head && l->kept.count < last;) { /* as long as it gets shorter */
        last = l->kept.count;
        compose(l, &in, &batch);
        write_batch(l, &batch);
    }
    give_up_rest(l);
    return NULL;
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

static bool prepare(struct ledger *l)
{
    if (!statements_prepare(l->db, sql, STATEMENTS, l->s))
        return false;
    l->rows = rows_new(l->db, l->options.rollup_lag, l->options.rollup_chunk);
    return l->rows != NULL;
}

static bool start_thread(struct ledger *l)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are for the main loop */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

static void init_lock(struct ledger *l)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void discard(struct ledger *l)
{
    statements_end(l->s, STATEMENTS);
    rows_free(l->rows);
    checkpoint_stop(l->checkpoint);
    sqlite3_close(l->db);
    if (l->lock_fd >= 0)
        close(l->lock_fd); /* after the last connection: closing drops SQLite's locks */
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->wake);
    free(l->file);
    free(l->wal_file);
    free(l);
}

static void take_options(struct ledger *l, const struct ledger_options *o)
{
    l->options = *o;
    l->options.file = l->file;
    l->options.busy_ms = o->busy_ms > 0 ? o->busy_ms : BUSY_MS;
    l->options.batch_max = o->batch_max ? o->batch_max : BATCH_MAX;
    l->options.retry_max = o->retry_max ? o->retry_max : RETRY_MAX;
    l->options.rollup_lag = o->rollup_lag > 0 ? o->rollup_lag : ROLLUP_LAG;
    l->options.rollup_chunk = o->rollup_chunk > 0 ? o->rollup_chunk : ROLLUP_CHUNK;
}

struct ledger *ledger_open(const struct ledger_options *options, char *why, size_t why_size)
{
    struct ledger *l = calloc(1, sizeof *l);
    snprintf(why, why_size, "ledger %s: out of memory", options->file);
    if (!l)
        return NULL;
    init_lock(l);
    queue_init(&l->incoming);
    queue_init(&l->kept);
    l->lock_fd = -1;
    l->file = strdup(options->file);
    if (!l->file || asprintf(&l->wal_file, "%s-wal", options->file) < 0) {
        l->wal_file = NULL;
        goto failed;
    }
    take_options(l, options);
    l->lock_fd = schema_lock_file(l->file, why, why_size);
    if (l->lock_fd < 0)
        goto failed;
    l->db = schema_open_writer(l->file, options->max_bytes, why, why_size);
    if (!l->db)
        goto failed;
    sqlite3_busy_timeout(l->db, l->options.busy_ms);
    if (!prepare(l)) {
        snprintf(why, why_size, "ledger %s: its tables are not those of schema %lld: %s", l->file,
                 (long long)schema_integer(l->db, "PRAGMA user_version", 0), sqlite3_errmsg(l->db));
        goto failed;
    }
    atomic_init(&l->next_id, 1 + schema_integer(l->db, "SELECT max((SELECT coalesce(max(id), 0) FROM request_row),"
                                                       " (SELECT value FROM ledger_note WHERE name = 'last_id'))", 0));
    sqlite3 *other = schema_open_other(l->file, false, why, why_size);
    if (!other)
        goto failed;
    l->checkpoint = checkpoint_start(l->db, other);
    if (!l->checkpoint)
        sqlite3_close(other);
    if (!l->checkpoint || !start_thread(l)) {
        snprintf(why, why_size, "ledger %s: cannot start a thread", l->file);
        goto failed;
    }
    why[0] = '\0';
    return l;
failed:
    discard(l);
    return NULL;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    discard(l);
}

/* ---- any thread -------------------------------------------------------------------------------------------------- */

void ledger_submit(struct ledger *l, struct ledger_op *op)
{
    pthread_mutex_lock(&l->lock);
    bool first = l->incoming.head == NULL;
    if (first)
        l->waiting_since_us = clock_mono_us();
    queue_push(&l->incoming, op);
    pthread_mutex_unlock(&l->lock);
    if (first)
        pthread_cond_signal(&l->wake);
}

const char *ledger_file(const struct ledger *l)
{
    return l->file;
}

int64_t ledger_next_id(struct ledger *l)
{
    return atomic_fetch_add_explicit(&l->next_id, 1, memory_order_relaxed);
}

void ledger_status(struct ledger *l, struct ledger_status *out)
{
    struct stat st;
    pthread_mutex_lock(&l->lock);
    *out = l->status;
    out->queued = l->incoming.count + l->in_hand;
    out->oldest_mono_us = l->in_hand > 0 ? l->in_hand_since_us : l->incoming.count > 0 ? l->waiting_since_us : 0;
    pthread_mutex_unlock(&l->lock);
    out->file_bytes = stat(l->file, &st) == 0 ? (int64_t)st.st_size : 0;
    out->wal_bytes = stat(l->wal_file, &st) == 0 ? (int64_t)st.st_size : 0;
}
