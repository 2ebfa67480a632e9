#include "ledger/checkpoint.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { WANTED_FRAMES = 1000, REST_FRAMES = 400 };

struct checkpoint {
    sqlite3 *writer, *other;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool wanted, stop;
    atomic_bool rest;      /* what is left is small: the writer's turn */
    atomic_bool busy;
    int frames, next_frames; /* writer thread: WAL length now, and when to ask next */
};

static int on_commit(void *user, sqlite3 *db, const char *name, int frames)
{
    struct checkpoint *c = user;
    (void)db;
    (void)name;
    if (frames < c->frames)
        c->next_frames = WANTED_FRAMES; /* the WAL began anew */
    c->frames = frames;
    return SQLITE_OK;
}

static void *run(void *user)
{
    struct checkpoint *c = user;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        if (!c->wanted) {
            pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        c->wanted = false;
        pthread_mutex_unlock(&c->lock);
        int in_wal = -1, moved = -1;
        int rc = sqlite3_wal_checkpoint_v2(c->other, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &moved);
        if (rc == SQLITE_OK && in_wal - moved <= REST_FRAMES)
            atomic_store(&c->rest, true);
        atomic_store(&c->busy, false);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct checkpoint *checkpoint_start(sqlite3 *writer, sqlite3 *other)
{
    sigset_t all, before;
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->writer = writer;
    c->other = other;
    c->next_frames = WANTED_FRAMES;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    sqlite3_wal_hook(writer, on_commit, c);
    sigfillset(&all); /* signals are for the main loop */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        return c;
    sqlite3_wal_hook(writer, NULL, NULL);
    free(c);
    return NULL;
}

void checkpoint_turn(struct checkpoint *c)
{
    if (atomic_exchange(&c->rest, false))
        sqlite3_wal_checkpoint_v2(c->writer, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (c->frames < c->next_frames || atomic_load(&c->busy))
        return;
    c->next_frames = c->frames + WANTED_FRAMES;
    atomic_store(&c->busy, true);
    pthread_mutex_lock(&c->lock);
    c->wanted = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

void checkpoint_stop(struct checkpoint *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    sqlite3_close(c->other);
    sqlite3_wal_hook(c->writer, NULL, NULL);
    sqlite3_wal_checkpoint_v2(c->writer, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->wake);
    free(c);
}
