#include "decide/decision_state.h"

#include "decide/assess_route.h"
#include "base/clock.h"

enum {
    BIG_BYTES = 4 * 1024,   /* prompts above are counted in slices */
    STEP_WORK = 16 * 1024   /* of counting in one turn of the loop, see tokens/count.h: some 50 us */
};

static void refuse_unbounded(struct decision *d)
{
    d->s.no = assess_unbounded();
    decision_refuse_assessed(d);
}

static void refuse_failed(struct decision *d, bool unbounded)
{
    if (unbounded)
        refuse_unbounded(d);
    else
        decision_refuse_memory(d);
}

static bool job_start(struct decision *d, const struct runtime_target *t)
{
    d->counting = t;
    d->job = estimate_job_new(d->worker->counter, t->tokenizer, &t->rules, &d->s.ask);
    if (d->job == NULL) {
        decision_refuse_memory(d);
        return false;
    }
    return true;
}

static void count_end(struct decision *d)
{
    d->tokens_us += clock_mono_us();
    decision_counted(d);
}

static void count_at_once(struct decision *d)
{
    const struct runtime_target *t;
    struct token_estimate count;
    bool unbounded = false;

    while ((t = assess_to_count(&d->s)) != NULL) {
        if (token_estimate_ask(d->worker->counter, t->tokenizer, &t->rules, &d->s.ask, &count, &unbounded) != 0) {
            refuse_failed(d, unbounded);
            return;
        }
        if (!assess_counted(&d->s, t, &count)) {
            decision_refuse_assessed(d);
            return;
        }
    }
    count_end(d);
}

/* Short prompts are counted at once: a job costs more than it saves. */
void decision_count(struct decision *d, int64_t t0)
{
    struct worker *w = d->worker;
    const struct runtime_target *t = assess_to_count(&d->s);

    d->tokens_us -= t0;
    if (t == NULL || d->taken == NULL || estimate_bytes(&d->s.ask) <= BIG_BYTES) {
        count_at_once(d);
        return;
    }
    d->stage = STAGE_COUNT;
    if (!job_start(d, t))
        return;
    decision_link(d, &w->jobs);
    ev_idle_start(w->loop, &w->job_idle);
}

static void job_step(struct decision *d)
{
    bool unbounded = false;
    struct token_estimate count;
    int rc = estimate_job_step(d->job, STEP_WORK, &count, &unbounded);

    if (rc == 0)
        return;
    decision_unlink(&d->worker->jobs, d);
    estimate_job_free(d->job);
    d->job = NULL;
    if (rc < 0) {
        refuse_failed(d, unbounded);
        return;
    }
    if (!assess_counted(&d->s, d->counting, &count)) {
        decision_refuse_assessed(d);
        return;
    }
    const struct runtime_target *t = assess_to_count(&d->s);
    if (t == NULL)
        count_end(d);
    else if (job_start(d, t))
        decision_link(d, &d->worker->jobs);
}

/* One job a turn, round robin: a long prompt costs the others one slice each time. */
void decisions_step(struct worker *w)
{
    struct decision *d = w->jobs;

    if (d != NULL && d->next != NULL) {
        struct decision **tail = &d->next;
        w->jobs = d->next;
        d->next = NULL;
        for (tail = &w->jobs; *tail != NULL;)
            tail = &(*tail)->next;
        *tail = d;
    }
    if (d != NULL)
        job_step(d);
    if (w->jobs == NULL)
        ev_idle_stop(w->loop, &w->job_idle);
}
