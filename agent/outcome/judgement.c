#include "outcome/judgement.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "decide/inflight.h"
#include "settle/delivered.h"
#include "settle/settle_record.h"
#include "settle/usage.h"
#include "tokens/estimate.h"

enum { CLAIM_APART_NANO = 100, CLAIM_APART_PART = 100 }; /* rounding, and 1 % */

/* `first` is Anthropic's from message_start, or empty. */
static bool reported(struct slice first, struct slice last, struct judgement *out, const char **why)
{
    struct usage_report all, later;

    *why = "";
    if (last.n == 0 || usage_parse(last, &later, why) != 0)
        return false;
    all = later;
    if (first.n > 0 && usage_parse(first, &all, why) == 0)
        usage_merge(&all, &later);
    out->usage = all.tokens;
    out->claimed = all.cost_nano >= 0;
    out->claimed_nano = all.cost_nano;
    return true;
}

/* Tokens of what was delivered; -1 when memory is out. */
static int64_t delivered_tokens(struct agent *a, const struct delivered *got, const struct tokenizer *t, const struct token_rules *rules)
{
    int64_t total = got->tool_calls * (int64_t)8;

    for (size_t i = 0; i < got->text_count; i++) {
        int64_t n = token_count_text(a->counter, t, got->texts[i].text, NULL);
        if (n < 0)
            return -1;
        total += n;
    }
    return (int64_t)(((__int128)total * rules->factor_ppm + 999999) / 1000000);
}

enum relay_cause judgement_relay_cause(const struct inflight *f, bool second)
{
    return (enum relay_cause)atomic_load(&f->relay_cause[second]);
}

/* An event stream that is not called one. */
static bool holds_events(struct slice body)
{
    return slice_starts(body, SLICE_LIT("data:")) || slice_starts(body, SLICE_LIT("event:")) || slice_starts(body, SLICE_LIT(":"));
}

/* Where the provider's own figure is missing: its work is what reached the client, and the prompt as counted. An error in place of any work
 * costs nothing. */
static bool count_delivered(struct agent *a, const struct inflight *f, const struct settle_record *r, struct judgement *v)
{
    struct arena *arena = arena_new(65536);
    const struct ledger_decision *d = &f->op.decision;
    const struct target *served = v->fallback && f->has_fallback ? &f->fallback : &f->primary;
    struct token_rules rules;
    struct delivered got;
    const char *why;
    bool ok = false;

    if (arena == NULL)
        return false;
    token_rules_for_model(served->model, &rules);
    const struct tokenizer *t = tokenizer_set_find(a->tokenizers, slice_cstr(rules.encoding));
    if (t == NULL || delivered_read(r->body, r->sse || holds_events(r->body), arena, &got) != 0)
        goto out;
    if (got.terminal && reported(got.first_usage, got.usage, v, &why)) {
        v->known_by = KNOWN_REPORTED;
        ok = true;
        goto out;
    }
    int64_t output = delivered_tokens(a, &got, t, &rules);
    if (output < 0)
        goto out;
    ok = true;
    if (r->failed && output == 0)
        goto out;
    /* Only the beginning was kept: the rest is assumed to be like it, and never more than was allowed. */
    if (r->body_cut && r->body.n > 0)
        output = (int64_t)((__int128)output * r->bytes / (int64_t)r->body.n);
    if (judgement_relay_cause(f, v->fallback) != RELAY_CAUSE_STOPPED && d->output_ceiling >= 0 && output > d->output_ceiling * d->choices)
        output = d->output_ceiling * d->choices;
    v->usage = (struct token_usage){ .input = d->input_tokens > 0 ? d->input_tokens : 0, .output = output };
    v->known_by = KNOWN_COUNTED;
out:
    arena_free(arena);
    return ok;
}

static void usage_find(struct agent *a, const struct inflight *f, const struct settle_record *r, struct judgement *v)
{
    bool cut = (r->end == SETTLE_END_CUT || r->failed) && r->sse && !r->done;
    const char *why;

    /* A stream that was cut can have told usage that does not cover what came after: Anthropic's first event does. */
    if (r->usage.n > 0 && !(cut && r->body.n > 0)) {
        if (reported(r->first_usage, r->usage, v, &why)) {
            v->known_by = KNOWN_REPORTED;
            return;
        }
        LOG(LOG_LEVEL_WARN, "usage_unusable", LOG_STR("request_id", f->request_id), LOG_STR("group", r->group), LOG_CSTR("why", why));
    }
    if (r->failed && !r->sse)
        return; /* an error object: nothing was made */
    /* Of a compressed body nothing can be counted: it must not look like an answer without a word. */
    bool readable = r->coding.n == 0 || slice_eq_cstr(r->coding, "identity");
    if (readable && r->body.p != NULL && count_delivered(a, f, r, v))
        return;
    v->known_by = KNOWN_BOUNDED;
    v->cost_nano = f->op.decision.hold_nano;
}

/* Prices what was found. A served model without a price (allowed by configuration) costs 0. */
static void price(struct agent *a, const struct inflight *f, struct judgement *v)
{
    if (v->known_by != KNOWN_REPORTED && v->known_by != KNOWN_COUNTED)
        return;
    bool priced = costing_of(a, f, v->fallback, &v->usage, &v->price);
    v->cost_nano = v->price.cost_nano;
    if (!priced && f->op.decision.hold_nano > 0) {
        LOG(LOG_LEVEL_WARN, "cost_not_computable", LOG_STR("request_id", f->request_id));
        v->known_by = KNOWN_BOUNDED;
        v->cost_nano = f->op.decision.hold_nano;
    }
}

/* A provider that charges otherwise than the price table says is told of, with both figures. */
static void compare_claim(const struct inflight *f, const struct judgement *v)
{
    static struct log_gate gate;
    int64_t apart = v->claimed_nano > v->cost_nano ? v->claimed_nano - v->cost_nano : v->cost_nano - v->claimed_nano;
    unsigned held = 0;

    if (v->claimed && v->known_by == KNOWN_REPORTED && apart > CLAIM_APART_NANO && apart > v->cost_nano / CLAIM_APART_PART &&
        log_gate_open(&gate, clock_mono_us(), 10, &held))
        LOG(LOG_LEVEL_WARN, "provider_cost_differs", LOG_STR("request_id", f->request_id),
            LOG_STR("provider", v->fallback ? f->fallback.provider : f->primary.provider),
            LOG_STR("model", v->fallback ? f->fallback.model : f->primary.model), LOG_INT("cost_nano", v->cost_nano),
            LOG_INT("claimed_nano", v->claimed_nano), LOG_INT("suppressed", held));
}

static const char *outcome_of(const struct settle_record *r, const struct inflight *f, bool second)
{
    if (r->status >= 400)
        return "provider_error";
    if (judgement_relay_cause(f, second) != RELAY_CAUSE_NONE)
        return relay_cause_word(judgement_relay_cause(f, second));
    if (r->failed && f->op.decision.endpoint != ENDPOINT_PASSTHROUGH)
        return r->sse ? "stream_error" : "error_body";
    if (r->end != SETTLE_END_CUT)
        return r->done || !r->sse || f->op.decision.endpoint == ENDPOINT_PASSTHROUGH ? "ok" : "no_terminal_event";
    return f->line_client_abort ? "client_abort" : "cut";
}

void judgement_of_record(struct agent *a, const struct inflight *f, const struct settle_record *r, struct judgement *v)
{
    *v = (struct judgement){ .known_by = KNOWN_NONE, .status = (int)r->status, .tpot_ns = -1,
                              .bytes = r->bytes, .provider_id = r->provider_id };
    v->fallback = f->has_fallback && (r->attempt == 2 || (r->attempt == 0 && slice_eq(r->group, f->fallback.group)));
    v->outcome = outcome_of(r, f, v->fallback);
    v->attempts = v->fallback ? 2 : 1;
    v->ttft_us = r->first_ms >= 0 ? r->first_ms * 1000 : -1;
    v->total_us = r->last_ms >= 0 ? r->last_ms * 1000 : -1;
    bool good = r->status >= 200 && r->status < 300;
    if (good && f->op.decision.endpoint == ENDPOINT_PASSTHROUGH) { /* has a price of its own, whatever usage it reports */
        v->known_by = KNOWN_COUNTED;
        v->cost_nano = f->op.decision.hold_nano;
        return;
    }
    if (good)
        usage_find(a, f, r, v);
    price(a, f, v);
    compare_claim(f, v);
    int64_t output = token_usage_output(&v->usage);
    if (output > 1 && r->first_ms >= 0 && r->last_ms >= r->first_ms)
        v->tpot_ns = (r->last_ms - r->first_ms) * 1000000 / (output - 1);
}
