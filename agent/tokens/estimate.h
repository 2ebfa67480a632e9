/* From a request to the input tokens the provider will bill.
 *
 * Text is counted exactly. What the provider wraps around it is known for some cases only, so every result says how sure it is
 * and carries a bound for the hold:
 *   EXACT_TOKENS       embeddings and legacy completions of an OpenAI model: nothing is wrapped around the text.
 *   DOCUMENTED_TOKENS  plain chat of an OpenAI model: 3 per message, 1 per name, 3 for the reply (OpenAI Cookbook, "How to count
 *                      tokens with tiktoken"). The bound equals the count.
 *   ESTIMATED_TOKENS   everything else. The bound is the sum of the parts' bounds and `slack`.
 * Bounds of parts:
 *   text            the count; models of other vendors: o200k_base times `factor_ppm`, bound times `bound_ppm`, never above 1 token
 *                   a byte (no byte-level tokenizer makes more). Text with lone surrogates: 1 token a byte as sent.
 *   tools, schemas, tool calls, unknown fields: minified JSON as counted, bound 1.5 times that and 24, plus `tools_prompt` once.
 *   tool results, system text: 24 more than the text. A prediction is no input; the bound counts it.
 *   images          the provider's formula; where size or detail is unknown, its dearest case.
 *   audio           10 tokens a second at 128 kbit/s; bound 50 a second at 8 kbit/s.
 *   files           1 token for 4 bytes of decoded content; bound 2 tokens a byte and 4096, at most `window`. A file made to
 *                   unpack to more can exceed this: refuse files from clients that are not trusted, or give the model a window.
 *   PART_UNKNOWN    0, bound `window`; all of them together never more than one window.
 * Base64 is never counted as text: images, audio and files come as sizes. */
#ifndef TOLLGATE_TOKENS_ESTIMATE_H
#define TOLLGATE_TOKENS_ESTIMATE_H

#include "request.h"
#include "tokens/count.h"

enum image_pricing {
    IMAGE_BY_TILES,   /* base + tile * tiles of 512 after fitting 2048 x 2048 and 768 (OpenAI gpt-4o, 4.1, o1, o3, gpt-5) */
    IMAGE_BY_PATCHES, /* patches of 32 x 32, at most `patch_cap`, times patch_ppm (OpenAI mini, nano and gpt-5.x) */
    IMAGE_BY_AREA,    /* width * height / area, at most `image_most` (Anthropic) */
    IMAGE_FLAT        /* `image_base`, bound `image_most`, whatever the size (Gemini, vendors that publish no formula) */
};

/* What is known of a model; plain data the caller may change (configuration, learned factors) before it counts. */
struct token_rules {
    const char *encoding;          /* the tokenizer to count with */
    bool text_exact;               /* that tokenizer is the model's own */
    bool chat_documented;          /* the per-message overhead is documented or measured for it */
    uint32_t factor_ppm;           /* tokens of the model per token counted, in millionths: 1000000 for OpenAI */
    uint32_t bound_ppm;            /* what a hold assumes; >= factor_ppm */
    uint32_t per_message, per_name, per_request; /* 3, 1, 3 */
    uint32_t slack;                /* added to the bound of every estimated request */
    uint32_t tools_prompt;         /* hidden prompt as soon as there are tools */
    enum image_pricing image;
    uint32_t image_base, image_tile;      /* IMAGE_BY_TILES; IMAGE_FLAT: the usual image */
    uint32_t patch_cap, patch_ppm, patch_bound_ppm; /* IMAGE_BY_PATCHES */
    uint32_t image_area;                  /* IMAGE_BY_AREA */
    uint32_t image_most;                  /* the dearest legal image; also the bound for an image of unknown size */
    int64_t window;                /* input tokens the model accepts: the bound for what cannot be seen; 0: not known */
};

/* Built-in knowledge, by the model's name at its provider: OpenAI families, claude-*, gemini-*, llama, mistral; other names get
 * o200k_base with wide factors. Never fails. */
void token_rules_for_model(struct slice model, struct token_rules *out);

/* Counts the whole request. `t` must be the tokenizer `rules->encoding` names. 0, or -1 when memory is out or when a part
 * cannot be bounded (PART_UNKNOWN and no window); *unbounded (NULL allowed) then tells the two apart. */
int token_estimate_ask(struct token_counter *c, const struct tokenizer *t, const struct token_rules *rules, const struct ask *ask,
                       struct token_estimate *out, bool *unbounded) __attribute__((warn_unused_result));

/* What one part adds, for showing a count part by part: `input` and `input_bound` without the per-request constants. */
int token_estimate_part(struct token_counter *c, const struct tokenizer *t, const struct token_rules *rules,
                        const struct ask *ask, size_t part, struct token_estimate *out) __attribute__((warn_unused_result));

/* The same in slices (see token_job_step). `ask` and what it points to must stay in place until the job is freed. */
struct estimate_job;
struct estimate_job *estimate_job_new(struct token_counter *c, const struct tokenizer *t, const struct token_rules *rules,
                                      const struct ask *ask) __attribute__((warn_unused_result));
/* 1: finished, *out holds the estimate; 0: call again; -1: as token_estimate_ask. */
int estimate_job_step(struct estimate_job *job, size_t work, struct token_estimate *out, bool *unbounded)
    __attribute__((warn_unused_result));
/* The work of the last step. */
size_t estimate_job_work(const struct estimate_job *job);
void estimate_job_free(struct estimate_job *job);
/* Bytes of text in the request, before anything is counted: whether it is worth a job. */
size_t estimate_bytes(const struct ask *ask);

#endif
