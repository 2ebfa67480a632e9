#include "tokens/count.h"

#include "tokens/cache.h"
#include "tokens/merge.h"
#include "tokens/scan.h"
#include "tokens/small.h"
#include "tokens/text.h"

#include <assert.h>
#include <stdlib.h>

#define PIECE_CACHES 4            /* one for each vocabulary */
#define HISTORY_SHORTEST 32       /* bytes; counting less costs as much as hashing it */
#define SCRATCH_KEPT ((size_t)1 << 20)
#define STEP_LEAST 4096
/* The unit of work is a byte of text whose pieces are known. As much as so many of them cost: */
#define WORK_PER_MISSED_BYTE 8    /* a byte of a piece that has to be merged */
#define WORK_PER_LONG 64          /* looking whether a long piece is one token */

struct token_counter {
    struct token_counter_options options;
    struct medium_cache mediums[PIECE_CACHES];
    struct piece_cache pieces[PIECE_CACHES]; /* made when their vocabulary is first used */
    struct merge_memo memos[PIECE_CACHES];
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
    struct scan scan;
    size_t work;             /* done in this step */
    uint64_t missed_charged; /* of small.missed_bytes */
    bool hashing;
    struct history_hash hash_state;
    uint64_t hash[2];
};

/* Bytes hashed, and found to need no change, in the time one is counted. */
enum { HASH_SPEED = 4, CHECK_SPEED = 4 };

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
    if (!j->mediums || n > MEDIUM_MOST) {
        j->small.missed_bytes += n;
        return merge_medium(v, j->small.memo, p, n);
    }
    struct medium_key key = medium_key_of(p, n);
    struct medium_entry *set = medium_cache_set(j->mediums, &key, n);
    for (int i = 0; i < 2; i++)
        if (medium_entry_is(&set[i], &key, n))
            return set[i].count;
    uint32_t count = merge_medium(v, j->small.memo, p, n);
    j->counter->stats.piece_misses++;
    j->small.missed_bytes += n;
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

/* Takes down what was done since `from`. True: it was enough for this step. */
static inline bool charge(struct token_job *j, size_t bytes, size_t limit)
{
    j->work += bytes + (size_t)(j->small.missed_bytes - j->missed_charged) * WORK_PER_MISSED_BYTE;
    j->missed_charged = j->small.missed_bytes;
    return j->work >= limit;
}

/* The end of a piece, which may be far: in as many steps as it takes. NULL: not found in this one. */
static const uint8_t *scan_far(struct token_job *j, const uint8_t *p, size_t limit)
{
    struct scan *s = &j->scan;
    const uint8_t *from = scan_seen(s, p);
    size_t left = j->work < limit ? limit - j->work : 1;
    s->stop = left < (size_t)(j->end - from) ? from + left : j->end;
    const uint8_t *next = scan_slowly(s, p);
    const uint8_t *seen = s->run > 0 ? s->runs[s->run - 1].at : p;
    if (!next || seen > from + MERGE_MEDIUM)
        j->work += (size_t)(seen - from);
    return next;
}

/* Pieces from j->p on, up to the first long one, or until about `limit` is done. Returns the length of that long one, or 0. */
static inline __attribute__((always_inline)) size_t count_pieces(struct token_job *j, size_t limit, enum vocab_pattern pattern)
{
    struct window w = { .from = j->p };
    const uint8_t *p = j->p, *next, *charged = p;
    int64_t tokens = j->tokens;
    size_t length = 0;
    if (j->scan.kept > 0)
        goto far;
    while (p < j->end) {
        size_t at = (size_t)(p - w.from);
        if (at >= w.covered) {
            bool enough = charge(j, (size_t)(p - charged), limit);
            charged = p;
            if (enough)
                break;
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
        if (!next && pattern != VOCAB_GPT2)
            next = scan_word(&j->tokenizer->vocab, p, j->end);
        if (!next) {
        far: /* also for a piece whose end an earlier step did not find */
            next = scan_far(j, p, limit);
            if (!next)
                break;
        }
        if (count_piece(j, p, (size_t)(next - p), &tokens)) {
            length = (size_t)(next - p);
            break;
        }
        p = next;
    }
out:
    charge(j, (size_t)(p - charged), limit);
    j->p = p;
    j->tokens = tokens;
    return length;
}

/* About `limit` of work. 1: all is counted. */
static int count_step(struct token_job *j, size_t limit)
{
    const struct vocab *v = &j->tokenizer->vocab;
    while (j->in_long || j->p < j->end) {
        if (j->work >= limit)
            return 0;
        if (j->in_long) {
            int done = long_piece_step(&j->long_piece, v, limit - j->work, &j->work);
            if (done <= 0)
                return done;
            j->tokens += (int64_t)j->long_piece.count;
            j->p += j->long_piece.n;
            long_piece_free(&j->long_piece);
            j->in_long = false;
            continue;
        }
        size_t length = v->pattern == VOCAB_O200K    ? count_pieces(j, limit, VOCAB_O200K)
                        : v->pattern == VOCAB_CL100K ? count_pieces(j, limit, VOCAB_CL100K)
                                                     : count_pieces(j, limit, VOCAB_GPT2);
        j->in_long = length > 0;
        j->work += length > 0 ? WORK_PER_LONG : 0;
        if (length > 0)
            long_piece_start(&j->long_piece, v, j->small.memo, j->p, length);
    }
    if (j->small.waiting.n > 0)
        j->tokens += small_finish(&j->small);
    j->counter->stats.piece_misses += j->small.misses;
    return 1;
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

int token_counter_prepare(struct token_counter *c, const struct tokenizer *t)
{
    struct piece_cache *pieces = &c->pieces[t->number % PIECE_CACHES];
    struct medium_cache *mediums = &c->mediums[t->number % PIECE_CACHES];
    size_t bytes = c->options.piece_cache_bytes / 2;
    if (bytes > 0 && !pieces->entries && piece_cache_init(pieces, bytes) != 0)
        return -1;
    return bytes > 0 && !mediums->entries && medium_cache_init(mediums, bytes) != 0 ? -1 : 0;
}

static int job_init(struct token_job *j, struct token_counter *c, const struct tokenizer *t, enum token_input how,
                    struct slice input)
{
    memset(j, 0, sizeof *j);
    j->counter = c;
    j->tokenizer = t;
    j->small.vocab = &t->vocab;
    j->small.memo = &c->memos[t->number % PIECE_CACHES];
    if (token_counter_prepare(c, t) != 0)
        return -1;
    if (c->pieces[t->number % PIECE_CACHES].entries) {
        j->small.cache = &c->pieces[t->number % PIECE_CACHES];
        j->mediums = &c->mediums[t->number % PIECE_CACHES];
    }
    text_source_start(&j->source, how, input);
    if (how == TOKENS_OF_TEXT || input.n < HISTORY_SHORTEST || !c->history.entries)
        return 0;
    j->hashing = true;
    j->hash_state = history_hash_start(t->number % PIECE_CACHES * 4 + (uint32_t)how);
    return 0;
}

/* Hashes on, and looks the string up when that is done. True: it is. A megabyte takes a quarter of a millisecond: too long for one step. */
static bool look_up_step(struct token_job *j, size_t limit)
{
    struct token_counter *c = j->counter;
    struct slice input = slice_make((const char *)j->source.p, j->source.n);
    size_t before = j->hash_state.at, most = limit > SIZE_MAX / HASH_SPEED ? SIZE_MAX : limit * HASH_SPEED;
    bool done = history_hash_step(&c->history, &j->hash_state, input, most, j->hash);
    j->work += ((done ? input.n : j->hash_state.at) - before) / HASH_SPEED;
    if (!done)
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

/* 1: the text is there, 0: call again, -1: memory is out. */
static int read_step(struct token_job *j, size_t limit)
{
    size_t left = limit - j->work, before = j->source.at;
    bool copying = j->source.copying;
    int done = text_source_step(&j->source, &j->buffer, copying || left > SIZE_MAX / CHECK_SPEED ? left : left * CHECK_SPEED);
    if (copying != j->source.copying) /* it begins anew */
        before = 0;
    j->work += (j->source.at - before) / (copying ? 1 : CHECK_SPEED);
    if (done == 1) {
        j->text_ready = true;
        j->p = j->source.copying ? j->buffer.p : j->source.p;
        j->end = j->p ? j->p + (j->source.copying ? j->buffer.n : j->source.n) : NULL;
        j->scan = (struct scan){ .v = &j->tokenizer->vocab, .end = j->end };
    }
    return done;
}

static int job_step(struct token_job *j, size_t limit, struct token_count *out)
{
    j->work = 0;
    if (j->hashing && !look_up_step(j, limit))
        return 0;
    while (!j->finished && !j->text_ready) {
        int read = j->work < limit ? read_step(j, limit) : 0;
        if (read < 0 || (read == 0 && j->work >= limit))
            return read;
    }
    if (!j->finished) {
        int counted = j->p == j->end ? 1 : count_step(j, limit);
        if (counted <= 0)
            return counted;
        j->finished = true;
        if (j->remember)
            history_cache_add(&j->counter->history, j->hash, j->source.n, j->tokens, j->source.replaced);
    }
    *out = (struct token_count){ .tokens = j->tokens, .replaced = j->source.replaced };
    return 1;
}

static int count_whole(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input,
                       struct token_count *out, size_t *work)
{
    struct token_job j;
    int status = job_init(&j, c, t, how, input);
    if (status == 0) {
        j.buffer = c->scratch;
        j.buffer.n = 0;
        status = job_step(&j, SIZE_MAX, out) == 1 ? 0 : -1;
        *work = j.work;
        long_piece_free(&j.long_piece);
        c->scratch = j.buffer;
        if (c->scratch.capacity > SCRATCH_KEPT)
            text_buffer_free(&c->scratch);
    }
    return status;
}

int token_count_bytes(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input,
                      struct token_count *out)
{
    size_t work;
    return count_whole(c, t, how, input, out, &work);
}

int token_count_short(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice input, size_t *work,
                      struct token_count *out)
{
    assert(input.n <= TOKENS_SHORT);
    return count_whole(c, t, how, input, out, work);
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

size_t token_job_work(const struct token_job *job)
{
    return job->work;
}

void token_job_free(struct token_job *job)
{
    if (!job)
        return;
    long_piece_free(&job->long_piece);
    text_buffer_free(&job->buffer);
    free(job);
}
