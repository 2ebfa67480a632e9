#include "access/access_change.h"

#include "admin/rpc.h"
#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "access/gateway_keys.h"
#include "ledger/read.h"
#include "access/logout.h"
#include "access/revoking.h"

#include <stdio.h>
#include <stdlib.h>

struct change {
    struct agent_task task;
    struct ledger_op op;
    struct agent *agent;
    enum access_where where;
    enum ledger_result result;
    access_done_fn *done;
    void *user;
    char texts[];
};

/* The one place every change of access passes once it is on disk. */
static void audit(const struct ledger_access *c)
{
    LOG(LOG_LEVEL_WARN, "access_changed", LOG_STR("actor", c->actor), LOG_STR("action", c->action), LOG_STR("kind", c->kind),
        LOG_STR("value", c->value), LOG_STR("issuer", c->issuer), LOG_STR("note", c->detail.n > 0 ? c->detail : c->note));
}

static void finish(struct change *c)
{
    if (c->done != NULL)
        c->done(c->user, c->result, &c->op.access);
    explicit_bzero(c->op.access.key.hash, sizeof c->op.access.key.hash);
    free(c);
}

static void on_task(struct agent *a, struct agent_task *task)
{
    (void)a;
    finish((struct change *)task);
}

/* On the ledger's writer thread. */
static void on_written(struct ledger_op *op, enum ledger_result result)
{
    struct change *c = op->user;
    struct access_lists *l = c->agent->access;

    c->result = result;
    if (result == LEDGER_OK) {
        audit(&op->access);
        pthread_mutex_lock(&l->lock);
        revoking_apply(c->agent, &op->access);
        gateway_keys_apply(c->agent, &op->access);
        pthread_mutex_unlock(&l->lock);
    }
    if (c->where == ACCESS_DONE_ON_CONTROL)
        agent_post(c->agent, &c->task);
    else
        finish(c);
}

bool access_change_submit(struct agent *a, const struct ledger_access *change, enum access_where where, access_done_fn *done, void *user)
{
    struct ledger_access copy = *change;
    struct slice *texts[] = { &copy.kind, &copy.issuer, &copy.value, &copy.origin, &copy.note, &copy.actor, &copy.action, &copy.detail,
                              &copy.key.name, &copy.key.groups, &copy.key.models, &copy.key.endpoints, &copy.key.budget, &copy.key.secret, &copy.key.who.organization, &copy.key.who.team,
                              &copy.key.who.user, &copy.key.who.application, &copy.key.who.cost_center };
    size_t bytes = 0;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        bytes += texts[i]->n;
    struct change *c = malloc(sizeof *c + bytes);
    if (c == NULL)
        return false;
    char *at = c->texts;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = slice_pack(&at, *texts[i]);
    copy.at_us = clock_wall_us();
    c->task = (struct agent_task){ .run = on_task };
    c->op = (struct ledger_op){ .kind = LEDGER_ACCESS, .done = on_written, .user = c };
    c->op.access = copy;
    c->agent = a;
    c->where = where;
    c->done = done;
    c->user = user;
    ledger_submit(a->ledger, &c->op);
    return true;
}

const char *access_change_for_admin(struct agent *a, struct ledger_access *change, const char *action, access_done_fn *done)
{
    char actor[32];

    snprintf(actor, sizeof actor, "uid %u", rpc_peer_uid(a->admin));
    change->actor = slice_cstr(actor);
    change->action = slice_cstr(action);
    struct rpc_pending *q = rpc_defer(a->admin);
    if (q == NULL)
        return "out of memory";
    if (access_change_submit(a, change, ACCESS_DONE_ON_CONTROL, done, q))
        return rpc_later;
    rpc_undefer(q);
    return "out of memory";
}

bool access_lists_open(struct agent *a, const char *ledger_file, const struct config *c, char *why, size_t why_size)
{
    snprintf(why, why_size, "out of memory");
    a->access = calloc(1, sizeof *a->access);
    if (a->access == NULL)
        return false;
    snapshot_cell_init(&a->access->revocations);
    snapshot_cell_init(&a->access->keys);
    pthread_mutex_init(&a->access->lock, NULL);
    a->access->logouts = logout_memory_new();
    if (a->access->logouts == NULL)
        return false;
    struct ledger_reader *r = ledger_reader_open(ledger_file, why, why_size);
    if (r == NULL)
        return false;
    bool ok = revoking_open(a, r, c, why, why_size) && gateway_keys_open(a, r, c, why, why_size);
    ledger_reader_close(r);
    return ok;
}

bool access_lists_check(const struct config *c, char *why, size_t why_size)
{
    return revoking_check(c, why, why_size);
}

void access_lists_reload(struct agent *a, const struct config *c)
{
    char why[512];

    if (!revoking_reload(a, c, why, sizeof why))
        LOG(LOG_LEVEL_ERROR, "revocation_file_refused", LOG_CSTR("error", why), LOG_CSTR("effect", "its last good content stays in force"));
}

void access_lists_close(struct agent *a)
{
    if (a->access == NULL)
        return;
    revoking_close(a);
    gateway_keys_close(a);
    logout_memory_free(a->access->logouts);
    snapshot_cell_clear(&a->access->revocations);
    snapshot_cell_clear(&a->access->keys);
    pthread_mutex_destroy(&a->access->lock);
    free(a->access);
    a->access = NULL;
}
