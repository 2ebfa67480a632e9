#include "tokens/count.h"

#include "tokens/cache.h"
#include "tokens/merge.h"
#include "tokens/scan.h"
#include "tokens/small.h"
#include "tokens/text.h"

#include <stdlib.h>

#define PIECE_CACHES 4            /* one for each vocabulary */
#define HISTORY_SHORTEST 32       /* bytes; counting less costs as much as hashing it */
#define SCRATCH_KEPT ((size_t)1 << 20)
#define STEP_LEAST 4096
#define WORK_PER_TRIAL 8          /* one trial of a long piece costs as much as so many bytes of text */

struct token_counter {
    struct token_counter_options options;
    struct medium_cache mediums[PIECE_CACHES];
    struct piece_cache pieces[PIECE_CACHES]; /* made when their vocabulary is first used */
    struct history_cache history;
    struct text_buffer scratch;
    struct token_cache_stats stats;
    window_blocks *blocks; /* the code path */
    const char *path;
};

struct token_job {
    struct token_counter *counter;
    const struct tokenizer *tokenizer;
    struct medium_cache *mediums; /* NULL: none */
    struct text_source source;
    struct text_buffer buffer;
    bool text_ready, in_long, finished, remember;
    const uint8_t *p, *end; /* what is left of the text */
    int64_t tokens;
    struct long_piece long_piece;
    struct small_counter small;
    bool hashing;
    struct history_hash hash_state;
    uint64_t hash[2];
};

enum { HASH_SPEED = 4 }; /* bytes hashed in the time one is counted */

/* ---- the counter ------------------------------------------------------------------------------------------------- */

struct token_counter *token_counter_new(const struct token_counter_options *options)
{
    static const struct token_counter_options defaults = { .piece_cache_bytes = 4 << 20, .history_cache_bytes = 2 << 20 };
    struct token_counter *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->options = options ? *options : defaults;
    c->blocks = window_choose(c->options.force_path, &c->path);
    if (!c->blocks)
        goto failed;
    if (c->options.history_cache_bytes > 0 && history_cache_init(&c->history, c->options.history_cache_bytes) != 0)
        goto failed;
    return c;
failed:
    token_counter_free(c);
    return NULL;
}

void token_counter_free(struct token_counter *c)
{
    if (!c)
        return;
    for (int i = 0; i < PIECE_CACHES; i++) {
        piece_cache_free(&c->pieces[i]);
        medium_cache_free(&c->mediums[i]);
    }
    history_cache_free(&c->history);
    text_buffer_free(&c->scratch);
    free(c);
}

const char *token_counter_path(const struct token_counter *c)
{
    return c->path;
}

void token_counter_stats(const struct token_counter *c, struct token_cache_stats *out)
{
    *out = c->stats;
}

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

/* 16 to MERGE_MEDIUM bytes. */
static uint32_t count_medium(struct token_job *j, const uint8_t *p, size_t n)
{
    const struct vocab *v = &j->tokenizer->vocab;
    if (!j->mediums || n > MEDIUM_MOST)
        return merge_medium(v, p, n);
    struct medium_key key = medium_key_of(p, n);
    struct medium_entry *set = medium_cache_set(j->mediums, &key, n);
    for (int i = 0; i < 2; i++)
        if (medium_entry_is(&set[i], &key, n))
            return set[i].count;
    uint32_t count = merge_medium(v, p, n);
    j->counter->stats.piece_misses++;
    set[set[0].length && !set[1].length ? 1 : j->mediums->turn++ & 1] = (struct medium_entry){ key, (uint32_t)n, count, 0 };
    return count;
}

/* One piece. True when it is a long one, which is not counted here. */
static inline __attribute__((always_inline)) bool count_piece(struct token_job *j, const uint8_t *p, size_t n, int64_t *tokens)
{
    if (n <= SMALL_MOST)
        *tokens += small_count(&j->small, p, n, j->end);
    else if (n <= MERGE_MEDIUM)
        *tokens += count_medium(j, p, n);
    else if (merge_is_token(&j->tokenizer->vocab, p, n))
        ++*tokens;
    else
        return true;
    return false;
}

/* Pieces from j->p on, up to about `stop` or to the first long one. Returns the length of that one, or 0. */
static inline __attribute__((always_inline)) size_t count_pieces(struct token_job *j, const uint8_t *stop, enum vocab_pattern pattern)
{
    struct window w = { .from = j->p };
    const uint8_t *p = j->p, *next;
    int64_t tokens = j->tokens;
    size_t length = 0;
    while (p < stop) {
        size_t at = (size_t)(p - w.from);
        if (at >= w.covered) {
            window_move(&w, j->counter->blocks, p, j->end, pattern);
            at = 0;
        }
        if (pattern != VOCAB_GPT2) {
            size_t b = at / 64;
            uint64_t starts = w.start[b] & ~(uint64_t)1 << at % 64, unsure = w.unsure[b] & ~(uint64_t)0 << at % 64;
            for (;;) {
                for (starts &= (unsure & (0 - unsure)) - 1; starts; starts &= starts - 1, p = next) {
                    next = w.from + b * 64 + (unsigned)__builtin_ctzll(starts);
                    if (count_piece(j, p, (size_t)(next - p), &tokens)) {
                        length = (size_t)(next - p);
                        goto out;
                    }
                }
                if (unsure || ++b == w.blocks)
                    break;
                starts = w.start[b];
                unsure = w.unsure[b];
            }
            if ((size_t)(p - w.from) >= w.covered)
                continue;
        }
        next = scan_ascii(&w, pattern, p, j->end);
        if (!next)
            next = scan_slowly(&j->tokenizer->vocab, p, j->end);
        if (count_piece(j, p, (size_t)(next - p), &tokens)) {
            length = (size_t)(next - p);
            break;
        }
        p = next;
    }
out:
    j->p = p;
    j->tokens = tokens;
    return length;
}

/* Up to about `work` bytes of the text. 1: all is counted. */
static int count_step(struct token_job *j, size_t work)
{
    const struct vocab *v = &j->tokenizer->vocab;
    const uint8_t *start = j->p, *stop = (size_t)(j->end - j->p) > work ? j->p + work : j->end;
    while (j->in_long || j->p < stop) {
        if (j->in_long) {
            size_t left = work - (size_t)(j->p - start);
            int done = long_piece_step(&j->long_piece, v, left / WORK_PER_TRIAL + 1);
            if (done <= 0)
                return done;
            j->tokens += (int64_t)j->long_piece.count;
            j->p += j->long_piece.n;
            long_piece_free(&j->long_piece);
            j->in_long = false;
            continue;
        }
        size_t length = v->pattern == VOCAB_O200K    ? count_pieces(j, stop, VOCAB_O200K)
                        : v->pattern == VOCAB_CL100K ? count_pieces(j, stop, VOCAB_CL100K)
                                                     : count_pieces(j, stop, VOCAB_GPT2);
        j->in_long = length > 0;
        if (length > 0 && long_piece_start(&j->long_piece, v, j->p, length) != 0)
            return -1;
    }
    if (j->p != j->end)
        return 0;
    if (j->small.waiting.n > 0)
        j->tokens += small_finish(&j->small);
    j->counter->stats.piece_misses += j->small.misses;
    return 1;
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static int job_init(struct token_job *j, struct token_counter *c, const struct tokenizer *t, enum token_input how,
                    struct slice input)
{
    memset(j, 0, sizeof *j);
    j->counter = c;
    j->tokenizer = t;
    j->small.vocab = &t->vocab;
    if (c->options.piece_cache_bytes > 0) {
        j->small.cache = &c->pieces[t->number % PIECE_CACHES];
        j->mediums = &c->mediums[t->number % PIECE_CACHES];
        if (!j->small.cache->entries && piece_cache_init(j->small.cache, c->options.piece_cache_bytes / 2) != 0)
            return -1;
        if (!j->mediums->entries && medium_cache_init(j->mediums, c->options.piece_cache_bytes / 2) != 0)
            return -1;
    }
    text_source_start(&j->source, how, input);
    if (how == TOKENS_OF_TEXT || input.n < HISTORY_SHORTEST || !c->history.entries)
        return 0;
    j->hashing = true;
    j->hash_state = history_hash_start(t->number % PIECE_CACHES * 4 + (uint32_t)how);
    return 0;
}

/* Hashes on, and looks the string up when that is done. A megabyte takes most of a millisecond: too long for one step. */
static bool look_up_step(struct token_job *j, size_t work)
{
    struct token_counter *c = j->counter;
    struct slice input = slice_make((const char *)j->source.p, j->source.n);
    if (!history_hash_step(&c->history, &j->hash_state, input, work == SIZE_MAX ? work : work * HASH_SPEED, j->hash))
        return false;
    j->hashing = false;
    if (history_cache_find(&c->history, j->hash, input.n, &j->tokens, &j->source.replaced)) {
        c->stats.history_hits++;
        c->stats.history_hit_bytes += input.n;
        j->finished = true;
    } else {
        c->stats.history_misses++;
        j->remember = true;
    }
    return true;
}

static int job_step(struct token_job *j, size_t work, struct token_count *out)
{
    if (j->hashing) {
        bool in_one = work == SIZE_MAX || j->source.n <= work;
        if (!look_up_step(j, work))
            return 0;
        if (!in_one && !j->finished)
            return 0;
    }
    if (!j->finished && !j->text_ready) {
        int read = text_source_step(&j->source, &j->buffer, work);
        if (read <= 0)
            return read;
        j->text_ready = true;
        j->p = j->source.copying ? j->buffer.p : j->source.p;
        j->end = j->p ? j->p + (j->source.copying ? j->buffer.n : j->source.n) : NULL;
        if (work != SIZE_MAX && j->source.n > STEP_LEAST)
            return 0;
    }
    if (!j->finished) {
        int counted = j->p == j->end ? 1 : count_step(j, work);
        if (counted <= 0)
            return counted;
        j->finished = true;
        if (j->remember)
            history_cache_add(&j->counter->history, j->hash, j->source.n, j->tokens, j->source.replaced);
    }
    out->tokens = j->tokens;
    out->replaced = j->source.replaced;
    return 1;
}

int token_count_bytes(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input,
                      struct token_count *out)
{
    struct token_job j;
    int status = job_init(&j, c, t, how, input);
    if (status == 0) {
        j.buffer = c->scratch;
        j.buffer.n = 0;
        status = job_step(&j, SIZE_MAX, out) == 1 ? 0 : -1;
        long_piece_free(&j.long_piece);
        c->scratch = j.buffer;
        if (c->scratch.capacity > SCRATCH_KEPT)
            text_buffer_free(&c->scratch);
    }
    return status;
}

static int64_t count_as(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice s, bool *replaced)
{
    struct token_count count;
    if (token_count_bytes(c, t, how, s, &count) != 0)
        return -1;
    if (count.replaced && replaced)
        *replaced = true;
    return count.tokens;
}

int64_t token_count_text(struct token_counter *c, const struct tokenizer *t, struct slice utf8, bool *replaced)
{
    return count_as(c, t, TOKENS_OF_TEXT, utf8, replaced);
}

int64_t token_count_json_string(struct token_counter *c, const struct tokenizer *t, struct slice raw, bool escaped,
                                bool *replaced)
{
    (void)escaped; /* looked for while the text is checked, at no cost */
    return count_as(c, t, TOKENS_OF_JSON_STRING, raw, replaced);
}

int64_t token_count_json_value(struct token_counter *c, const struct tokenizer *t, struct slice raw, bool *replaced)
{
    return count_as(c, t, TOKENS_OF_JSON_VALUE, raw, replaced);
}

struct token_job *token_job_new(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input)
{
    struct token_job *j = malloc(sizeof *j);
    if (j && job_init(j, c, t, how, input) != 0) {
        free(j);
        j = NULL;
    }
    return j;
}

int token_job_step(struct token_job *job, size_t work, struct token_count *out)
{
    return job_step(job, work < STEP_LEAST ? STEP_LEAST : work, out);
}

void token_job_free(struct token_job *job)
{
    if (!job)
        return;
    long_piece_free(&job->long_piece);
    text_buffer_free(&job->buffer);
    free(job);
}
