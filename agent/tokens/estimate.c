#include "tokens/estimate.h"

#include <stdlib.h>

#define PART_WORK 64                /* bytes' worth of work for a part besides its text */
#define WRAP 24                     /* tokens around a value of unknown rendering */
#define MOST_TOKENS ((int64_t)1 << 40)

/* What the parts read so far add up to. */
struct sum {
    int64_t input, bound;
    int64_t roles;
    bool plain;       /* only what the documented overhead covers, or plain prompts */
    bool tools, unknown, replaced;
};

struct estimate_job {
    struct token_counter *counter;
    const struct tokenizer *tokenizer;
    struct token_rules rules;
    const struct ask *ask;
    size_t part;
    struct token_job *text; /* the text of parts[part] when it is counted in slices */
    struct sum sum;
    size_t work; /* of the last step */
};

static int64_t clamp(uint64_t n)
{
    return n > (uint64_t)MOST_TOKENS ? MOST_TOKENS : (int64_t)n;
}

/* n * ppm / 10^6, rounded up. */
static int64_t scale(int64_t n, uint32_t ppm)
{
    return clamp((uint64_t)(((unsigned __int128)(uint64_t)n * ppm + 999999) / 1000000));
}

/* ---- images ------------------------------------------------------------------------------------------------------ */

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* OpenAI, "Images and vision", tiles: fit into 2048 x 2048, then the short side to 768, both only downwards; count tiles of 512. */
static int64_t tiles_of(uint32_t width, uint32_t height)
{
    double w = width, h = height;
    double longer = w > h ? w : h;
    if (longer > 2048) {
        w = w * 2048 / longer;
        h = h * 2048 / longer;
    }
    double shorter = w < h ? w : h;
    if (shorter > 768) {
        w = w * 768 / shorter;
        h = h * 768 / shorter;
    }
    /* A hair above a whole tile is rounding, not a tile. */
    uint64_t across = divide_up((uint64_t)(w * 1000 + 0.5), 512000), down = divide_up((uint64_t)(h * 1000 + 0.5), 512000);
    return (int64_t)((across ? across : 1) * (down ? down : 1));
}

static void add_image(const struct token_rules *r, const struct ask_part *p, struct sum *s)
{
    bool sized = p->width > 0 && p->height > 0;
    int64_t input = r->image_most, bound = r->image_most;
    switch (r->image) {
    case IMAGE_BY_TILES:
        if (p->detail == IMAGE_LOW)
            input = bound = r->image_base;
        else if (sized)
            input = bound = r->image_base + r->image_tile * tiles_of(p->width, p->height);
        else
            input = r->image_base + 4 * (int64_t)r->image_tile;
        break;
    case IMAGE_BY_PATCHES:
        if (sized) {
            uint64_t patches = divide_up(p->width, 32) * divide_up(p->height, 32);
            int64_t counted = (int64_t)(patches < r->patch_cap ? patches : r->patch_cap);
            input = scale(counted, r->patch_ppm);
            bound = scale(counted, r->patch_bound_ppm);
        }
        break;
    case IMAGE_BY_AREA:
        if (sized && r->image_area > 0) {
            input = clamp(divide_up((uint64_t)p->width * p->height, r->image_area));
            bound = input + input / 5 + 64;
            input = input < r->image_most ? input : r->image_most;
            bound = bound < r->image_most ? bound : r->image_most;
        }
        break;
    case IMAGE_FLAT:
        input = r->image_base;
        break;
    }
    s->input += input;
    s->bound += bound > input ? bound : input;
    s->plain = false;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static bool is_text(const struct ask_part *p)
{
    return p->kind == PART_TEXT || p->kind == PART_JSON;
}

static enum token_input input_of(const struct ask_part *p)
{
    return p->kind == PART_JSON ? TOKENS_OF_JSON_VALUE : TOKENS_OF_JSON_STRING;
}

static void add_text(const struct token_rules *r, const struct ask_part *p, const struct token_count *count, struct sum *s)
{
    int64_t input = scale(count->tokens, r->factor_ppm), bound = scale(count->tokens, r->bound_ppm);
    /* One more: some vocabularies begin every text with a token of their own. */
    int64_t bytes = (clamp(p->raw.n) > count->tokens ? clamp(p->raw.n) : count->tokens) + !r->text_exact;
    if (bound > bytes)
        bound = bytes;
    if (count->replaced) {
        bound = bytes;
        s->replaced = true;
    }
    if (bound < input)
        input = bound;
    bool rendered = p->kind == PART_JSON;
    switch (p->place) {
    case IN_ROLE:
        s->roles++;
        break;
    case IN_NAME:
        input += r->per_name;
        bound += r->per_name;
        break;
    case IN_CONTENT:
    case IN_PROMPT:
        break;
    case IN_SYSTEM:
        /* Rendered as a message of its own by some APIs. */
        input += r->per_message + 1;
        bound += WRAP;
        s->plain = false;
        break;
    case IN_TOOL_RESULT:
        bound += WRAP;
        s->plain = false;
        break;
    case IN_PREDICTION:
        input = 0;
        s->plain = false;
        break;
    case IN_TOOLS:
        s->tools = true;
        rendered = true;
        break;
    case IN_TOOL_CALL:
    case IN_SCHEMA:
    case IN_OTHER:
        rendered = true;
        break;
    }
    if (rendered) {
        bound += bound / 2 + WRAP;
        s->plain = false;
    }
    s->input += input;
    s->bound += bound;
}

static void add_other(const struct token_rules *r, const struct ask_part *p, struct sum *s)
{
    int64_t bytes = clamp(p->bytes);
    switch (p->kind) {
    case PART_IMAGE:
        add_image(r, p, s);
        return;
    case PART_AUDIO:
        s->unknown |= bytes == 0;
        s->input += bytes / 1600 + (bytes > 0);
        s->bound += bytes / 20 + 64;
        break;
    case PART_FILE:
        if (bytes == 0) {
            s->unknown = true;
            break;
        }
        s->input += bytes / 4 + 1;
        bytes = bytes * 2 + 4096;
        s->bound += r->window > 0 && bytes > r->window ? r->window : bytes;
        break;
    case PART_TOKENS:
        s->input += clamp(p->count);
        s->bound += clamp(p->count);
        return;
    default:
        s->unknown = true;
        break;
    }
    s->plain = false;
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

/* Adds what stands around the parts. -1 when the bound is not known. */
static int finish(const struct estimate_job *j, struct token_estimate *out)
{
    const struct token_rules *r = &j->rules;
    const struct ask *ask = j->ask;
    struct sum s = j->sum;
    bool bare = ask->endpoint == ENDPOINT_EMBEDDINGS || ask->endpoint == ENDPOINT_COMPLETIONS;
    bool text_known = r->text_exact && !s.replaced && !ask->had_invalid_text;
    if (!bare) {
        int64_t around = (int64_t)ask->message_count * r->per_message + r->per_request;
        /* A message whose role is not written out still has one. */
        if (ask->message_count > s.roles)
            around += ask->message_count - s.roles;
        s.input += around;
        s.bound += around;
    }
    if (s.tools) {
        s.input += r->tools_prompt / 2;
        s.bound += r->tools_prompt;
    }
    bool documented = ask->endpoint == ENDPOINT_CHAT && r->chat_documented;
    if (text_known && s.plain && (bare || documented)) {
        *out = (struct token_estimate){ s.input, s.bound, bare ? EXACT_TOKENS : DOCUMENTED_TOKENS };
        return 0;
    }
    s.bound += r->slack;
    if (s.unknown) {
        if (r->window <= 0)
            return -1;
        s.bound = s.bound > r->window ? s.bound : r->window;
    }
    *out = (struct token_estimate){ s.input, s.bound > s.input ? s.bound : s.input, ESTIMATED_TOKENS };
    return 0;
}

static void job_init(struct estimate_job *j, struct token_counter *c, const struct tokenizer *t, const struct token_rules *rules,
                     const struct ask *ask)
{
    *j = (struct estimate_job){ .counter = c, .tokenizer = t, .rules = *rules, .ask = ask, .sum = { .plain = true } };
}

/* Counts the text of one part, or a slice of it: 1 done, 0 more to do, -1 memory is out. *work is what it took. */
static int count_part(struct estimate_job *j, const struct ask_part *p, size_t limit, struct token_count *count, size_t *work)
{
    if (limit == SIZE_MAX) {
        *work = 0;
        return token_count_bytes(j->counter, j->tokenizer, input_of(p), p->raw, count) == 0 ? 1 : -1;
    }
    if (!j->text && p->raw.n <= TOKENS_SHORT)
        return token_count_short(j->counter, j->tokenizer, input_of(p), p->raw, work, count) == 0 ? 1 : -1;
    if (!j->text)
        j->text = token_job_new(j->counter, j->tokenizer, input_of(p), p->raw);
    int done = j->text ? token_job_step(j->text, limit, count) : -1;
    *work = j->text ? token_job_work(j->text) : 0;
    if (done == 1) {
        token_job_free(j->text);
        j->text = NULL;
    }
    return done;
}

int estimate_job_step(struct estimate_job *j, size_t work, struct token_estimate *out, bool *unbounded)
{
    if (unbounded)
        *unbounded = false;
    j->work = 0;
    while (j->part < j->ask->part_count) {
        const struct ask_part *p = ask_part_at(j->ask, j->part);
        if (j->work >= work)
            return 0;
        j->work += PART_WORK;
        if (is_text(p)) {
            struct token_count count;
            size_t took, limit = work == SIZE_MAX ? work : work > j->work ? work - j->work : 1;
            int done = count_part(j, p, limit, &count, &took);
            j->work += took;
            if (done <= 0)
                return done;
            add_text(&j->rules, p, &count, &j->sum);
        } else {
            add_other(&j->rules, p, &j->sum);
        }
        j->part++;
    }
    int status = finish(j, out);
    if (status != 0 && unbounded)
        *unbounded = true;
    return status == 0 ? 1 : -1;
}

size_t estimate_job_work(const struct estimate_job *job)
{
    return job->work;
}

int token_estimate_ask(struct token_counter *c, const struct tokenizer *t, const struct token_rules *rules, const struct ask *ask,
                       struct token_estimate *out, bool *unbounded)
{
    struct estimate_job j;
    job_init(&j, c, t, rules, ask);
    return estimate_job_step(&j, SIZE_MAX, out, unbounded) == 1 ? 0 : -1;
}

int token_estimate_part(struct token_counter *c, const struct tokenizer *t, const struct token_rules *rules,
                        const struct ask *ask, size_t part, struct token_estimate *out)
{
    struct estimate_job j;
    job_init(&j, c, t, rules, ask);
    const struct ask_part *p = ask_part_at(ask, part);
    if (is_text(p)) {
        struct token_count count;
        if (token_count_bytes(c, t, input_of(p), p->raw, &count) != 0)
            return -1;
        add_text(rules, p, &count, &j.sum);
    } else {
        add_other(rules, p, &j.sum);
    }
    if (j.sum.unknown)
        j.sum.bound += rules->window > 0 ? rules->window : 0;
    bool known = rules->text_exact && j.sum.plain && !j.sum.replaced;
    *out = (struct token_estimate){ j.sum.input, j.sum.bound, known ? EXACT_TOKENS : ESTIMATED_TOKENS };
    return 0;
}

struct estimate_job *estimate_job_new(struct token_counter *c, const struct tokenizer *t, const struct token_rules *rules,
                                      const struct ask *ask)
{
    struct estimate_job *j = malloc(sizeof *j);
    if (j)
        job_init(j, c, t, rules, ask);
    return j;
}

void estimate_job_free(struct estimate_job *job)
{
    if (!job)
        return;
    token_job_free(job->text);
    free(job);
}

size_t estimate_bytes(const struct ask *ask)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ask->part_count; i++)
        if (is_text(ask_part_at(ask, i)))
            bytes += ask_part_at(ask, i)->raw.n;
    return bytes;
}
