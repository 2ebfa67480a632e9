#include "observe/request_metrics.h"

#include "observe/label_values.h"

#include <stdio.h>
#include <stdlib.h>

/* Bounds of the conventions, in the metrics' raw units. */
static const int64_t token_bounds[] = { 1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864 };
static const int64_t duration_bounds[] = { 10000, 20000, 40000, 80000, 160000, 320000, 640000, 1280000, 2560000, 5120000, 10240000,
                                           20480000, 40960000, 81920000 };                                         /* us */
static const int64_t ttft_bounds[] = { 1000, 5000, 10000, 20000, 40000, 60000, 80000, 100000, 250000, 500000, 750000, 1000000,
                                       2500000, 5000000, 7500000, 10000000 };                                      /* us */
static const int64_t tpot_bounds[] = { 10000000, 25000000, 50000000, 75000000, 100000000, 150000000, 200000000, 300000000, 400000000,
                                       500000000, 750000000, 1000000000, 2500000000 };                             /* ns */
/* Ours: what the gateway itself takes. */
static const int64_t overhead_bounds[] = { 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000 };

#define BOUNDS(b) .kind = METRIC_HISTOGRAM, .bounds = (b), .bound_count = sizeof(b) / sizeof *(b)
#define TARGET_LABELS "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model"

enum {
    TOKEN_USAGE, DURATION, TTFT, TPOT, REQUESTS, DENIALS, CLAMPED, SETTLEMENTS, ATTEMPTS, TOKENS, COST, PROMPT_CACHE, OVERHEAD, SPECS
};

static const struct metric_spec specs[SPECS] = {
    [TOKEN_USAGE] = { .name = "gen_ai_client_token_usage", .help = "Tokens of a request, by type.",
                      .labels = { TARGET_LABELS, "gen_ai_token_type" }, BOUNDS(token_bounds), .exemplars = true },
    [DURATION] = { .name = "gen_ai_client_operation_duration_seconds", .unit = "seconds", .decimals = 6,
                   .help = "Whole duration of a request that was passed on, from its first byte to the last of its answer.",
                   .labels = { TARGET_LABELS, "tollgate_group", "error_type" }, BOUNDS(duration_bounds), .exemplars = true },
    [TTFT] = { .name = "gen_ai_server_time_to_first_token_seconds", .unit = "seconds", .decimals = 6,
               .help = "Time to the first content of an answer.", .labels = { TARGET_LABELS, "tollgate_group" }, BOUNDS(ttft_bounds),
               .exemplars = true },
    [TPOT] = { .name = "gen_ai_server_time_per_output_token_seconds", .unit = "seconds", .decimals = 9,
               .help = "Time for each output token after the first.", .labels = { TARGET_LABELS, "tollgate_group" },
               BOUNDS(tpot_bounds), .exemplars = true },
    [REQUESTS] = { .name = "tollgate_requests", .help = "Requests decided, by outcome: allowed, denied, answered (by the gateway).",
                   .labels = { "team", "outcome" } },
    [DENIALS] = { .name = "tollgate_denials", .help = "Requests refused, by reason and HTTP status.", .labels = { "reason", "status" } },
    [CLAMPED] = { .name = "tollgate_clamped_requests", .help = "Requests whose output ceiling was lowered to fit a limit.",
                  .labels = { "team" } },
    [SETTLEMENTS] = { .name = "tollgate_settlements", .help = "Requests settled, by how their cost is known and how they ended.",
                      .labels = { "known_by", "outcome" } },
    [ATTEMPTS] = { .name = "tollgate_attempts", .help = "Tries at providers, by provider group and outcome.",
                   .labels = { "tollgate_group", "outcome" } },
    [TOKENS] = { .name = "tollgate_tokens", .help = "Tokens settled; a token is in exactly one kind.",
                 .labels = { "team", "gen_ai_provider_name", "gen_ai_response_model", "kind" } },
    [COST] = { .name = "tollgate_cost_usd", .unit = "usd", .decimals = 9,
               .help = "Cost settled. Corrections that lower it are in tollgate_cost_refunded_usd.",
               .labels = { "team", "gen_ai_provider_name", "gen_ai_response_model" } },
    [PROMPT_CACHE] = { .name = "tollgate_prompt_cache_requests",
                       .help = "Requests by what the provider's prompt cache gave: hit (something of the input), miss.",
                       .labels = { "gen_ai_provider_name", "gen_ai_response_model", "result" } },
    [OVERHEAD] = { .name = "tollgate_overhead_seconds", .unit = "seconds", .decimals = 6,
                   .help = "The agent's own time for a decision, by stage: identity, tokens, budget, commit, and all of it.",
                   .labels = { "stage" }, BOUNDS(overhead_bounds), .exemplars = true },
};

static const struct metric_spec refunded_spec = { .name = "tollgate_cost_refunded_usd", .unit = "usd", .decimals = 9,
                                                  .help = "Cost taken back by corrections of requests booked at their bound." };

enum stage { STAGE_IDENTITY, STAGE_TOKENS, STAGE_BUDGET, STAGE_COMMIT, STAGE_ALL, STAGES };

struct request_metrics {
    struct label_values *teams, *models;
    struct metric *metric[SPECS];
    struct metric_series *refunded, *stages[STAGES];
};

struct request_metrics *request_metrics_new(struct metrics *m, unsigned teams_max, unsigned models_max)
{
    static const char *const stages[STAGES] = { "identity", "tokens", "budget", "commit", "all" };
    struct request_metrics *r = calloc(1, sizeof *r);
    bool ok = r != NULL;

    for (int i = 0; ok && i < SPECS; i++)
        ok = (r->metric[i] = metrics_add(m, &specs[i])) != NULL;
    struct metric *refunded = ok ? metrics_add(m, &refunded_spec) : NULL;
    if (refunded != NULL) {
        r->refunded = metric_series(refunded, NULL);
        for (int i = 0; i < STAGES; i++) {
            struct slice stage = slice_cstr(stages[i]);
            r->stages[i] = metric_series(r->metric[OVERHEAD], &stage);
        }
        r->teams = label_values_new(teams_max);
        r->models = label_values_new(models_max);
    }
    if (refunded == NULL || r->teams == NULL || r->models == NULL) {
        request_metrics_free(r);
        return NULL;
    }
    return r;
}

void request_metrics_free(struct request_metrics *r)
{
    if (r == NULL)
        return;
    label_values_free(r->teams);
    label_values_free(r->models);
    free(r);
}

struct slice genai_provider_name(struct slice provider)
{
    static const char *const names[][2] = {
        { "azure", "azure.ai.openai" },    { "amazon-bedrock", "aws.bedrock" }, { "google", "gcp.gemini" },
        { "google-vertex", "gcp.vertex_ai" }, { "mistral", "mistral_ai" },      { "xai", "x_ai" },
        { "moonshotai", "moonshot_ai" },
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_eq_cstr(provider, names[i][0]))
            return slice_cstr(names[i][1]);
    return provider;
}

const char *genai_operation_name(enum endpoint endpoint)
{
    if (endpoint == ENDPOINT_PASSTHROUGH)
        return "passthrough";
    return endpoint == ENDPOINT_EMBEDDINGS ? "embeddings" : endpoint == ENDPOINT_COMPLETIONS ? "text_completion" : "chat";
}

struct slice request_metrics_team(struct request_metrics *r, struct slice team)
{
    return label_value(r->teams, team);
}

static void count(struct request_metrics *r, int metric, const struct slice *labels, int64_t n)
{
    metric_add(metric_series(r->metric[metric], labels), n);
}

static void count_overhead(struct request_metrics *r, const struct event *e)
{
    const int64_t us[STAGES] = { e->identity_us, e->tokens_us, e->budget_us, e->commit_us, e->decision_us };
    struct slice id = slice_cstr(e->request_id);

    for (int i = 0; i < STAGES; i++)
        if (us[i] >= 0)
            metric_observe(r->stages[i], us[i], id, e->at_us);
}

static void count_decision(struct request_metrics *r, const struct event *e)
{
    struct slice team = label_value(r->teams, slice_cstr(e->team));
    char status[16];

    count(r, REQUESTS, (struct slice[]){ team, slice_cstr(event_kind_name(e->kind)) }, 1);
    if (e->kind == EVENT_DENIED) {
        snprintf(status, sizeof status, "%d", e->status);
        count(r, DENIALS, (struct slice[]){ slice_cstr(e->reason != NULL ? e->reason : "unknown"), slice_cstr(status) }, 1);
    }
    if (e->clamped)
        count(r, CLAMPED, &team, 1);
    count_overhead(r, e);
}

static void count_tokens(struct request_metrics *r, const struct event *e, struct slice team, struct slice provider, struct slice model)
{
    const struct token_usage *u = &e->usage;
    const struct {
        const char *kind;
        int64_t n;
    } kinds[] = { { "input", u->input },
                  { "input_cached", u->input_cached },
                  { "input_cache_write", u->input_cache_write },
                  { "input_cache_write_1h", u->input_cache_write_1h },
                  { "output", u->output },
                  { "output_reasoning", u->output_reasoning },
                  { "input_audio", u->input_audio },
                  { "output_audio", u->output_audio } };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].n > 0)
            count(r, TOKENS, (struct slice[]){ team, provider, model, slice_cstr(kinds[i].kind) }, kinds[i].n);
    if (e->cost_nano > 0)
        count(r, COST, (struct slice[]){ team, provider, model }, e->cost_nano);
    else if (e->cost_nano < 0)
        metric_add(r->refunded, -e->cost_nano);
}

/* Labels: operation, provider, requested model, model that answered, then one or two of the metric's own. */
static void observe(struct request_metrics *r, int metric, struct slice labels[METRIC_LABELS_MAX], int64_t value, const struct event *e)
{
    metric_observe(metric_series(r->metric[metric], labels), value, slice_cstr(e->request_id), e->at_us);
}

static void count_settlement(struct request_metrics *r, const struct event *e)
{
    struct slice outcome = slice_cstr(e->reason != NULL ? e->reason : "unknown");
    struct slice provider = genai_provider_name(slice_cstr(e->provider)), model = label_value(r->models, slice_cstr(e->model));
    struct slice labels[METRIC_LABELS_MAX] = { slice_cstr(genai_operation_name(e->endpoint)), provider,
                                               label_value(r->models, slice_cstr(e->alias)), model };

    if (e->kind == EVENT_SETTLED)
        count(r, SETTLEMENTS, (struct slice[]){ slice_cstr(event_known_by_name(e->known_by)), outcome }, 1);
    count_tokens(r, e, label_value(r->teams, slice_cstr(e->team)), provider, model);
    if (e->kind != EVENT_SETTLED || e->attempts == 0)
        return;
    /* The conventions have reported counts only: a bound is no usage. */
    if (e->known_by == KNOWN_REPORTED)
        count(r, PROMPT_CACHE, (struct slice[]){ provider, model, e->usage.input_cached > 0 ? SLICE_LIT("hit") : SLICE_LIT("miss") }, 1);
    if (e->known_by == KNOWN_REPORTED || e->known_by == KNOWN_COUNTED) {
        labels[4] = SLICE_LIT("input");
        observe(r, TOKEN_USAGE, labels, token_usage_input(&e->usage), e);
        labels[4] = SLICE_LIT("output");
        observe(r, TOKEN_USAGE, labels, token_usage_output(&e->usage), e);
    }
    labels[4] = slice_cstr(e->group);
    labels[5] = slice_eq_cstr(outcome, "ok") ? SLICE_NONE : outcome;
    if (e->total_us >= 0)
        observe(r, DURATION, labels, e->total_us, e);
    if (e->ttft_us >= 0)
        observe(r, TTFT, labels, e->ttft_us, e);
    if (e->tpot_ns >= 0)
        observe(r, TPOT, labels, e->tpot_ns, e);
}

void request_metrics_count(struct request_metrics *r, const struct event *e)
{
    if (e->kind == EVENT_SETTLED || e->kind == EVENT_CORRECTED)
        count_settlement(r, e);
    else
        count_decision(r, e);
}

void request_metrics_attempt(struct request_metrics *r, struct slice group, const char *outcome)
{
    count(r, ATTEMPTS, (struct slice[]){ group, slice_cstr(outcome) }, 1);
}
