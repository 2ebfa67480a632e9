/* Counting tokens: exact, linear in the length of the input whatever it holds, without recursion.
 *
 * Counts equal len(tiktoken.Encoding.encode_ordinary(text)) for every valid text. A counter belongs to one thread; it owns the
 * bounded caches (pieces, whole strings) and scratch memory, and may be used with every tokenizer. Caches never change a count.
 * Input slices need no padding: no byte behind them is read.
 *
 * Bad input: bytes that are not UTF-8 are replaced by U+FFFD, one for each maximal subpart (WHATWG Encoding, "UTF-8 decoder"),
 * a lone surrogate escape in JSON likewise; the count then says `replaced` and is an estimate of what the provider will see.
 * Only want of memory makes a count fail. */
#ifndef TOLLGATE_TOKENS_COUNT_H
#define TOLLGATE_TOKENS_COUNT_H

#include "tokens/tokenizer.h"

struct token_counter;

struct token_counter_options {
    size_t piece_cache_bytes;    /* of each encoding in use, rounded down to a power of two; 0: no piece cache. Default 4 MB */
    size_t history_cache_bytes;  /* 32 bytes for each remembered string; 0: none. Default 2 MB */
    const char *force_path;      /* NULL: the fastest code this CPU runs; "portable", "sse2", "avx2", "avx512", "neon" for tests */
};

/* `options` NULL: the defaults. The cache key is drawn from the kernel for each counter. NULL when memory is out or the forced
 * path does not exist here. */
struct token_counter *token_counter_new(const struct token_counter_options *options) __attribute__((warn_unused_result));
void token_counter_free(struct token_counter *c);
/* Makes the caches for an encoding now (a few ms), which else are made when it is first used. 0, or -1 when memory is out. */
int token_counter_prepare(struct token_counter *c, const struct tokenizer *t) __attribute__((warn_unused_result));
/* The code path in use: "avx512", "avx2", "sse2", "neon", "portable". */
const char *token_counter_path(const struct token_counter *c);

/* What a count found. */
struct token_count {
    int64_t tokens;
    bool replaced;   /* something was replaced by U+FFFD */
};

/* How the bytes given are to be read. */
enum token_input {
    TOKENS_OF_TEXT,        /* UTF-8 as it is */
    TOKENS_OF_JSON_STRING, /* what stands between the quotes of a JSON string; escapes are decoded */
    TOKENS_OF_JSON_VALUE   /* a JSON value counted minified: white space outside strings is dropped, all else stands as written */
};

/* Counts `input`. JSON is not validated (the request scanner has done it): a wrong escape stands for itself. JSON strings and
 * values of 32 bytes and more are looked up in the history cache first and remembered afterwards. 0, or -1 when memory is out. */
int token_count_bytes(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input,
                      struct token_count *out) __attribute__((warn_unused_result));

/* The same, one call for each kind: the tokens, or -1 when memory is out. *replaced (NULL allowed) is set to true when something
 * was replaced and is else left alone. `escaped` false promises that `raw` holds no backslash. */
int64_t token_count_text(struct token_counter *c, const struct tokenizer *t, struct slice utf8, bool *replaced)
    __attribute__((warn_unused_result));
int64_t token_count_json_string(struct token_counter *c, const struct tokenizer *t, struct slice raw, bool escaped,
                                bool *replaced) __attribute__((warn_unused_result));
int64_t token_count_json_value(struct token_counter *c, const struct tokenizer *t, struct slice raw, bool *replaced)
    __attribute__((warn_unused_result));

/* A count in slices, so that a long text does not hold up a loop. The input must stay in place until the job is freed. Several
 * jobs of one counter may be open at once, and plain counts may run between their steps.
 *
 * Work is counted in bytes of text that is easy to count (some 3 ns each); what is harder counts as more of them, so that a step of so much
 * work takes about as long whatever the text holds. */
struct token_job;

/* NULL when memory is out. */
struct token_job *token_job_new(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input)
    __attribute__((warn_unused_result));
/* Does `work` (at least 4096), and at most 16384 more. 1: finished, *out is the count; 0: call again; -1: memory is out. After 1 or -1 the
 * job may only be freed. */
int token_job_step(struct token_job *job, size_t work, struct token_count *out) __attribute__((warn_unused_result));
/* The work of the last step. */
size_t token_job_work(const struct token_job *job);
void token_job_free(struct token_job *job);

/* token_count_bytes for so few bytes that they need no slices; *work is what it took. */
#define TOKENS_SHORT 128
int token_count_short(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input, size_t *work,
                      struct token_count *out) __attribute__((warn_unused_result));

/* How often the caches answered, since the counter was made. */
struct token_cache_stats {
    uint64_t history_hits, history_misses, history_hit_bytes;
    uint64_t piece_misses; /* pieces that had to be merged */
};
void token_counter_stats(const struct token_counter *c, struct token_cache_stats *out);

#endif
