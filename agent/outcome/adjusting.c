#include "outcome/adjusting.h"

#include "base/clock.h"
#include "budget/budget.h"
#include "restore.h"

#include <stdlib.h>

struct adjustment {
    struct agent_task task;
    struct ledger_op op;
    struct ledger_subject subject;
    struct agent *agent;
    int64_t tokens;
    adjusting_done *done;
    void *user;
    enum ledger_result result;
    struct adjustment *next; /* in agent.adjustments, until the balances have it */
};

static void adjust(struct agent *a, const struct adjustment *x)
{
    const struct ledger_correction *c = &x->op.correction;
    const struct ledger_subject *s = &x->subject;
    struct identity who = restore_identity(a, &s->who);
    struct target target = { .group = s->target.group, .provider = s->target.provider, .model = s->target.model };
    struct budget_subjects subjects = { .who = &who, .alias = s->alias, .primary = &target };
    struct budget_use delta = { .nano = c->cost_nano, .tokens = x->tokens };

    budget_adjust(a->budget, &subjects, s->account_us, &delta, clock_wall_us(), clock_mono_us());
}

void adjusting_flush(struct agent *a)
{
    pthread_mutex_lock(&a->lock);
    struct adjustment *list = a->adjustments;
    a->adjustments = NULL;
    pthread_mutex_unlock(&a->lock);
    for (; list != NULL; list = list->next)
        if (list->result == LEDGER_OK)
            adjust(a, list);
}

/* The tasks free, and run in the order of the list's making, after whatever flush took it from there. */
static void over(struct agent *a, struct agent_task *task)
{
    struct adjustment *x = (struct adjustment *)task;

    adjusting_flush(a);
    if (x->done != NULL)
        x->done(a, x->user, &x->op.correction, x->result);
    ledger_subject_clear(&x->subject);
    free(x);
}

/* On the ledger's writer thread. */
static void on_written(struct ledger_op *op, enum ledger_result result)
{
    struct adjustment *x = op->user;
    struct agent *a = x->agent;

    x->result = result;
    pthread_mutex_lock(&a->lock);
    x->next = a->adjustments;
    a->adjustments = x;
    pthread_mutex_unlock(&a->lock);
    agent_post(a, &x->task);
}

bool adjusting_submit(struct agent *a, const struct ledger_correction *c, int64_t tokens, adjusting_done *done, void *user)
{
    struct adjustment *x = calloc(1, sizeof *x);

    if (x == NULL)
        return false;
    x->task.run = over;
    x->agent = a;
    x->tokens = tokens;
    x->done = done;
    x->user = user;
    x->op = (struct ledger_op){ .kind = LEDGER_CORRECTION, .done = on_written, .user = x, .correction = *c };
    x->op.correction.subject = &x->subject;
    ledger_submit(a->ledger, &x->op);
    return true;
}
