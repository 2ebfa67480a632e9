#include "decision_state.h"

#include "base/clock.h"

enum {
    BIG_BYTES = 32 * 1024,  /* prompts above are counted in slices */
    STEP_BYTES = 32 * 1024  /* of counting in one turn of the loop */
};

static void refuse_unbounded(struct decision *d)
{
    decision_refuse(d, 400, "request_not_boundable", "unbounded",
                    SLICE_LIT("The request refers to content whose size the gateway cannot see (a stored file, conversation or remote "
                              "document), so its cost has no bound. Send the content inline."));
}

static bool count_now(struct decision *d, const struct runtime_target *t, struct token_estimate *out)
{
    bool unbounded = false;

    if (token_estimate_ask(d->worker->counter, t->tokenizer, &t->rules, &d->s.ask, out, &unbounded) == 0)
        return true;
    if (unbounded)
        refuse_unbounded(d);
    else
        decision_refuse_memory(d);
    return false;
}

static bool job_start(struct decision *d, const struct runtime_target *t)
{
    d->job = estimate_job_new(d->worker->counter, t->tokenizer, &t->rules, &d->s.ask);
    if (d->job == NULL) {
        decision_refuse_memory(d);
        return false;
    }
    return true;
}

/* Short prompts are counted at once: a job costs more than it saves. */
void decision_count(struct decision *d, int64_t t0)
{
    struct worker *w = d->worker;

    d->tokens_us -= t0;
    if (d->taken != NULL && estimate_bytes(&d->s.ask) > BIG_BYTES) {
        d->stage = STAGE_COUNT;
        if (!job_start(d, d->s.primary))
            return;
        decision_link(d, &w->jobs);
        ev_idle_start(w->loop, &w->job_idle);
        return;
    }
    if (!count_now(d, d->s.primary, &d->s.estimate) ||
        (assess_counts_twice(&d->s) && !count_now(d, d->s.fallback, &d->s.fallback_estimate)))
        return;
    d->tokens_us += clock_mono_us();
    decision_counted(d);
}

static void job_step(struct decision *d)
{
    bool unbounded = false;
    struct token_estimate *out = d->stage == STAGE_COUNT ? &d->s.estimate : &d->s.fallback_estimate;
    int rc = estimate_job_step(d->job, STEP_BYTES, out, &unbounded);

    if (rc == 0)
        return;
    decision_unlink(&d->worker->jobs, d);
    estimate_job_free(d->job);
    d->job = NULL;
    if (rc < 0) {
        if (unbounded)
            refuse_unbounded(d);
        else
            decision_refuse_memory(d);
    } else if (d->stage == STAGE_COUNT && assess_counts_twice(&d->s)) {
        d->stage = STAGE_COUNT_FALLBACK;
        if (job_start(d, d->s.fallback))
            decision_link(d, &d->worker->jobs);
    } else {
        d->tokens_us += clock_mono_us();
        decision_counted(d);
    }
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
