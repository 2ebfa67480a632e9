#include "settle/usage.h"

#include <cjson/cJSON.h>

#include <math.h>

#define JSON_MOST 65536
#define COST_MOST 1000000.0 /* USD */

struct reading {
    const cJSON *object;
    bool refused;
};

/* The member as a count; -1 when it is absent or null. */
static int64_t count_in(struct reading *r, const cJSON *object, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    if (v == NULL || cJSON_IsNull(v))
        return -1;
    double d = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (!(d >= 0 && d <= USAGE_MAX_TOKENS) || d != (double)(int64_t)d) {
        r->refused = true;
        return -1;
    }
    return (int64_t)d;
}

static int64_t count(struct reading *r, const char *key)
{
    return count_in(r, r->object, key);
}

static int64_t detail(struct reading *r, const char *group, const char *key)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(r->object, group);
    int64_t n = cJSON_IsObject(o) ? count_in(r, o, key) : -1;
    return n < 0 ? 0 : n;
}

/* Tokens of images stay among the output, and are told apart beside it. */
static void images(struct reading *r, const char *group, struct usage_report *out)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(r->object, group);
    int64_t n = cJSON_IsObject(o) ? count_in(r, o, "image_tokens") : -1;
    struct token_usage *u = &out->tokens;

    u->image_told = n >= 0;
    out->clamped = out->clamped || n > u->output;
    u->output_image = n < 0 ? 0 : n > u->output ? u->output : n;
}

/* Takes a detail out of its total. */
static int64_t take(int64_t want, int64_t *total, bool *clamped)
{
    if (want > *total) {
        want = *total;
        *clamped = true;
    }
    *total -= want;
    return want;
}

static void openai_chat(struct reading *r, struct usage_report *out)
{
    int64_t prompt = count(r, "prompt_tokens"), completion = count(r, "completion_tokens"), total = count(r, "total_tokens");
    int64_t cached = detail(r, "prompt_tokens_details", "cached_tokens");
    int64_t audio = detail(r, "prompt_tokens_details", "audio_tokens");
    int64_t reasoning = detail(r, "completion_tokens_details", "reasoning_tokens");
    int64_t spoken = detail(r, "completion_tokens_details", "audio_tokens");
    int64_t hit = count(r, "prompt_cache_hit_tokens");
    struct token_usage *u = &out->tokens;

    out->has_input = prompt >= 0;
    out->has_output = completion >= 0;
    prompt = prompt < 0 ? 0 : prompt;
    completion = completion < 0 ? 0 : completion;
    if (hit > cached)
        cached = hit;
    /* Some servers leave reasoning out of completion_tokens and only the total tells: what it has beyond both is output. */
    int64_t beyond = total > prompt + completion ? total - prompt - completion : 0;
    u->input_cached = take(cached, &prompt, &out->clamped);
    u->input_audio = take(audio, &prompt, &out->clamped);
    u->input = prompt;
    u->output_reasoning = beyond > 0 && beyond >= reasoning ? beyond : take(reasoning, &completion, &out->clamped) + beyond;
    u->output_audio = take(spoken, &completion, &out->clamped);
    u->output = completion;
    images(r, "completion_tokens_details", out);
    if (beyond > 0)
        out->has_output = true;
}

static void openai_responses(struct reading *r, struct usage_report *out)
{
    int64_t input = count(r, "input_tokens"), output = count(r, "output_tokens");
    int64_t cached = detail(r, "input_tokens_details", "cached_tokens");
    int64_t audio = detail(r, "input_tokens_details", "audio_tokens");
    int64_t reasoning = detail(r, "output_tokens_details", "reasoning_tokens");
    int64_t spoken = detail(r, "output_tokens_details", "audio_tokens");
    struct token_usage *u = &out->tokens;

    out->has_input = input >= 0;
    out->has_output = output >= 0;
    input = input < 0 ? 0 : input;
    output = output < 0 ? 0 : output;
    u->input_cached = take(cached, &input, &out->clamped);
    u->input_audio = take(audio, &input, &out->clamped);
    u->input = input;
    u->output_reasoning = take(reasoning, &output, &out->clamped);
    u->output_audio = take(spoken, &output, &out->clamped);
    u->output = output;
    images(r, "output_tokens_details", out);
}

static void anthropic(struct reading *r, struct usage_report *out)
{
    int64_t input = count(r, "input_tokens"), output = count(r, "output_tokens");
    int64_t read = count(r, "cache_read_input_tokens"), written = count(r, "cache_creation_input_tokens");
    int64_t hour = detail(r, "cache_creation", "ephemeral_1h_input_tokens");
    int64_t minutes = detail(r, "cache_creation", "ephemeral_5m_input_tokens");
    struct token_usage *u = &out->tokens;

    out->has_input = input >= 0 || read >= 0 || written >= 0;
    out->has_output = output >= 0;
    if (written < 0)
        written = hour + minutes;
    u->input = input < 0 ? 0 : input;
    u->input_cached = read < 0 ? 0 : read;
    u->input_cache_write_1h = take(hour, &written, &out->clamped);
    u->input_cache_write = written; /* 5 minutes unless it says otherwise */
    u->output = output < 0 ? 0 : output;
}

/* The provider's claim, in whatever precision it came: no amount is ever made of it. */
static int64_t claimed_cost(const struct reading *r)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(r->object, "cost");
    bool usable = cJSON_IsNumber(v) && v->valuedouble >= 0 && v->valuedouble <= COST_MOST;

    return usable ? llround(v->valuedouble * 1e9) : -1;
}

static bool has(const struct reading *r, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(r->object, key) != NULL;
}

static int read_usage(struct reading *r, struct usage_report *out, const char **why)
{
    if (has(r, "prompt_tokens") || has(r, "completion_tokens") || (has(r, "total_tokens") && !has(r, "input_tokens")))
        openai_chat(r, out);
    else if (has(r, "input_tokens_details") || has(r, "output_tokens_details") || has(r, "total_tokens"))
        openai_responses(r, out);
    else
        anthropic(r, out);
    if (r->refused)
        *why = "usage holds a count that is no whole number from 0 to 1000000000";
    else if (!out->has_input && !out->has_output)
        *why = "usage names no tokens";
    else {
        out->cost_nano = claimed_cost(r);
        return 0;
    }
    *out = (struct usage_report){ .cost_nano = -1 };
    return -1;
}

int usage_parse(struct slice json, struct usage_report *out, const char **why)
{
    const char *end = NULL;

    *out = (struct usage_report){ .cost_nano = -1 };
    *why = "usage is no JSON object";
    if (json.n == 0 || json.n > JSON_MOST)
        return -1;
    struct reading r = { 0 };
    cJSON *o = cJSON_ParseWithLengthOpts(json.p, json.n, &end, false);
    r.object = o;
    int rc = cJSON_IsObject(o) && end == json.p + json.n ? read_usage(&r, out, why) : -1;
    cJSON_Delete(o);
    if (rc == 0)
        *why = NULL;
    return rc;
}

void usage_merge(struct usage_report *into, const struct usage_report *later)
{
    struct token_usage *u = &into->tokens;
    const struct token_usage *l = &later->tokens;

    if (later->has_input) {
        u->input = l->input;
        u->input_cached = l->input_cached;
        u->input_cache_write = l->input_cache_write;
        u->input_cache_write_1h = l->input_cache_write_1h;
        u->input_audio = l->input_audio;
    }
    if (later->has_output) {
        u->output = l->output;
        u->output_reasoning = l->output_reasoning;
        u->output_audio = l->output_audio;
        u->output_image = l->output_image;
        u->image_told = l->image_told;
    }
    into->has_input = into->has_input || later->has_input;
    into->has_output = into->has_output || later->has_output;
    into->clamped = into->clamped || later->clamped;
    if (later->cost_nano >= 0)
        into->cost_nano = later->cost_nano;
}
