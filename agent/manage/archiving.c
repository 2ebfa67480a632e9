#include "manage/archiving.h"

#include "admin/rpc_put.h"
#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "manage/booking.h"
#include "ledger/ledger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_SIZE = 4096 };

struct archiving {
    struct ledger *ledger;
    pthread_t thread;
    char file[FILE_SIZE];
    int64_t before_us;
    struct ledger_progress progress;
    atomic_bool finished; /* what follows is written before, and read after */
    int result;
    char why[400];
};

static void *run(void *arg)
{
    struct archiving *r = arg;

    r->result = ledger_archive_watched(r->ledger, r->file, r->before_us, &r->progress, r->why, sizeof r->why);
    long long moved = atomic_load(&r->progress.moved);
    if (r->result == 0)
        LOG(LOG_LEVEL_INFO, "archived", LOG_CSTR("file", r->file), LOG_INT("requests", moved));
    else
        LOG(LOG_LEVEL_WARN, "archive_failed", LOG_CSTR("error", r->why), LOG_INT("requests", moved));
    atomic_store(&r->finished, true);
    return NULL;
}

void archiving_free(struct archiving *r)
{
    if (r == NULL)
        return;
    atomic_store(&r->progress.stop, true);
    pthread_join(r->thread, NULL);
    free(r);
}

static const char *begin(struct agent *a, struct archiving *r)
{
    sigset_t all, before;

    sigfillset(&all); /* signals are for the main loop */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        free(r);
        return "no thread could be started";
    }
    a->archiving = r;
    return NULL;
}

const char *archiving_start(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    const char *why = booking_same_ledger(a, params);
    char text[32], *end;

    if (why != NULL)
        return why;
    if (a->archiving != NULL && !atomic_load(&a->archiving->finished))
        return "an archive is being written already; tollgatectl archive --status says how far it is";
    struct archiving *r = calloc(1, sizeof *r);
    if (r == NULL)
        return "out of memory";
    r->ledger = a->ledger;
    bool ok = booking_text(params, 1, r->file, sizeof r->file) && r->file[0] == '/' && booking_text(params, 2, text, sizeof text);
    errno = 0;
    r->before_us = ok ? strtoll(text, &end, 10) : 0;
    if (!ok || errno != 0 || *end != '\0' || r->before_us <= 0 || r->before_us > clock_wall_us()) {
        free(r);
        return "an archive needs the absolute path of its file and a moment that is past";
    }
    archiving_free(a->archiving);
    a->archiving = NULL;
    why = begin(a, r);
    if (why == NULL)
        msgpack_pack_str_with_body(p, "started", strlen("started"));
    return why;
}

const char *archiving_status(void *user, const msgpack_object *params, msgpack_packer *p)
{
    const struct archiving *r = ((struct agent *)user)->archiving;
    bool finished = r != NULL && atomic_load(&r->finished);

    (void)params;
    msgpack_pack_map(p, 4);
    rpc_put_cstr(p, "state", r == NULL ? "none" : !finished ? "running" : r->result == 0 ? "done" : "failed");
    rpc_put_cstr(p, "file", r == NULL ? "" : r->file);
    rpc_put_cstr(p, "error", finished && r->result != 0 ? r->why : "");
    msgpack_pack_str_with_body(p, "moved", strlen("moved"));
    msgpack_pack_int64(p, r == NULL ? 0 : atomic_load(&r->progress.moved));
    return NULL;
}
