#include "decide/decision_state.h"

#include "decide/assess_route.h"
#include "dialect/dialect.h"
#include "base/clock.h"

enum {
    BIG_BYTES = 4 * 1024,   /* prompts above are counted in slices */
    STEP_WORK = 16 * 1024,  /* of counting in one turn of the loop, see tokens/count.h: some 50 us */
    LONG_BYTES = 16 * 1024, /* bodies above are parsed in slices */
    PARSE_WORK = 64 * 1024  /* of that in one turn, see base/json_scan.h: some 50 us */
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

/* Its turn comes, together with all other jobs'. */
static void job_queue(struct decision *d)
{
    decision_link(d, &d->worker->jobs);
    ev_idle_start(d->worker->loop, &d->worker->job_idle);
}

void decision_parse(struct decision *d)
{
    int64_t t0 = clock_mono_us();

    if (d->taken == NULL || d->s.rq.body.n <= LONG_BYTES) {
        if (assess_parse(&d->s))
            decision_count(d, t0);
        else
            decision_refuse_assessed(d);
        return;
    }
    if (!assess_parse_begin(&d->s, d->worker->fibers, &d->parsing)) {
        if (d->s.no.status != 0)
            decision_refuse_assessed(d);
        else
            decision_refuse_memory(d);
    } else if (d->parsing == NULL) {
        decision_count(d, t0);
    } else {
        d->tokens_us -= t0;
        job_queue(d);
    }
}

/* A slice; then the decision goes on. */
static void parse_step(struct decision *d)
{
    int rc = dialect_job_step(d->parsing, PARSE_WORK);

    if (rc == 0)
        return;
    int64_t now = clock_mono_us();
    decision_unlink(&d->worker->jobs, d);
    dialect_job_free(d->parsing);
    d->parsing = NULL;
    d->tokens_us += now;
    if (assess_parsed(&d->s, rc > 0))
        decision_count(d, now);
    else
        decision_refuse_assessed(d);
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
    const struct runtime_target *t = assess_to_count(&d->s);

    d->tokens_us -= t0;
    if (t == NULL || d->taken == NULL || estimate_bytes(&d->s.ask) <= BIG_BYTES) {
        count_at_once(d);
        return;
    }
    d->stage = STAGE_COUNT;
    if (!job_start(d, t))
        return;
    job_queue(d);
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

/* One job a turn, round robin: a long body costs the others one slice each time. */
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
    if (d != NULL && d->parsing != NULL)
        parse_step(d);
    else if (d != NULL)
        job_step(d);
    if (w->jobs == NULL)
        ev_idle_stop(w->loop, &w->job_idle);
}
