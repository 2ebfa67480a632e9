/* vocab_build: makes a vocabulary image (image.h) from the compact rank files in agent/tokens/data.
 *
 * usage: vocab_build NAME PATTERN UNICODE.tsv OUT.tgv FILE.tkv [FILE.tkv ...]
 * A .tkv file is "TKV1", first rank, count (32 bits each, little endian), one length byte for each rank (0: no such rank), and
 * the bytes of the tokens in rank order. Later files add ranks to earlier ones (p50k_base is r50k_base and 24 more). */
#include "tokens/image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct token {
    const uint8_t *bytes;
    uint32_t length; /* 0: no such rank */
};

struct build {
    struct token *tokens;
    uint32_t count, used;
    uint32_t *by_content; /* open addressing over the bytes; rank + 1 */
    uint32_t content_mask;
    struct vocab_header header;
    void *section[VOCAB_SECTIONS];
    void *files[8]; /* rank files: the tokens' bytes */
    uint32_t file_count;
};

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("vocab_build: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *zalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p)
        die("out of memory");
    return p;
}

static uint8_t *read_file(const char *path, size_t *length)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        die("%s: %s", path, strerror(errno));
    if (fseek(f, 0, SEEK_END) != 0)
        die("%s: not a regular file", path);
    long end = ftell(f);
    if (end < 0)
        die("%s: %s", path, strerror(errno));
    rewind(f);
    uint8_t *data = zalloc((size_t)end + 1, 1);
    if (fread(data, 1, (size_t)end, f) != (size_t)end)
        die("%s: could not be read", path);
    fclose(f);
    *length = (size_t)end;
    return data;
}

static uint32_t get32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void load_ranks(struct build *b, const char *path)
{
    size_t length;
    uint8_t *data = read_file(path, &length);
    if (b->file_count == sizeof b->files / sizeof *b->files)
        die("too many rank files");
    b->files[b->file_count++] = data;
    if (length < 12 || memcmp(data, "TKV1", 4) != 0)
        die("%s: not a rank file", path);
    uint32_t first = get32(data + 4), count = get32(data + 8);
    if (count > length - 12 || first > VOCAB_RANKS_MOST || first + count > VOCAB_RANKS_MOST)
        die("%s: wrong count", path);
    if (first + count > b->count) {
        b->tokens = realloc(b->tokens, (first + count) * sizeof *b->tokens);
        if (!b->tokens)
            die("out of memory");
        memset(b->tokens + b->count, 0, (first + count - b->count) * sizeof *b->tokens);
        b->count = first + count;
    }
    const uint8_t *bytes = data + 12 + count, *end = data + length;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t n = data[12 + i];
        if (n > end - bytes || n > VOCAB_MAX_TOKEN)
            die("%s: cut short or token %u too long", path, first + i);
        if (n > 0) {
            b->tokens[first + i] = (struct token){ .bytes = bytes, .length = n };
            b->used++;
        }
        bytes += n;
    }
    if (bytes != end)
        die("%s: %zu bytes too many", path, (size_t)(end - bytes));
}

static uint32_t content_slot(const struct build *b, const uint8_t *p, uint32_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ h >> 29) & b->content_mask;
}

static uint32_t find_content(const struct build *b, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = content_slot(b, p, n); b->by_content[i]; i = (i + 1) & b->content_mask) {
        uint32_t rank = b->by_content[i] - 1;
        if (b->tokens[rank].length == n && memcmp(b->tokens[rank].bytes, p, n) == 0)
            return rank;
    }
    return VOCAB_NONE;
}

static void index_content(struct build *b)
{
    b->content_mask = (1u << 20) - 1;
    b->by_content = zalloc(b->content_mask + 1, sizeof *b->by_content);
    for (uint32_t rank = 0; rank < b->count; rank++) {
        const struct token *t = &b->tokens[rank];
        if (t->length == 0)
            continue;
        if (find_content(b, t->bytes, t->length) != VOCAB_NONE)
            die("rank %u repeats an earlier token", rank);
        uint32_t i = content_slot(b, t->bytes, t->length);
        while (b->by_content[i])
            i = (i + 1) & b->content_mask;
        b->by_content[i] = rank + 1;
    }
}

static void *new_section(struct build *b, enum vocab_section which, size_t bytes)
{
    b->header.bytes[which] = bytes;
    return b->section[which] = zalloc(bytes, 1);
}

/* Byte-pair encoding by the book, on the bytes of one token and with lower ranks only: what is left at the end must be the pair
 * that the token itself joins. */
static struct vocab_halves split_token(const struct build *b, uint32_t rank)
{
    const struct token *t = &b->tokens[rank];
    uint32_t start[VOCAB_MAX_TOKEN + 1], parts = t->length;
    for (uint32_t i = 0; i <= parts; i++)
        start[i] = i;
    while (parts > 2) {
        uint32_t best = VOCAB_NONE, at = 0;
        for (uint32_t i = 0; i + 2 <= parts; i++) {
            uint32_t r = find_content(b, t->bytes + start[i], start[i + 2] - start[i]);
            if (r < best) {
                best = r;
                at = i;
            }
        }
        if (best >= rank)
            die("token %u cannot be reached by merging", rank);
        memmove(start + at + 1, start + at + 2, (parts - at - 1) * sizeof *start);
        parts--;
    }
    struct vocab_halves pair = { .left = find_content(b, t->bytes, start[1]),
                               .right = find_content(b, t->bytes + start[1], t->length - start[1]) };
    if (pair.left == VOCAB_NONE || pair.right == VOCAB_NONE || pair.left >= rank || pair.right >= rank)
        die("token %u is not made of earlier tokens", rank);
    return pair;
}

static void build_facts(struct build *b)
{
    struct vocab_halves *halves = new_section(b, VOCAB_HALVES, b->count * sizeof *halves);
    uint32_t *prefixes = new_section(b, VOCAB_PREFIXES, b->count * sizeof *prefixes);
    uint32_t *bytes = new_section(b, VOCAB_BYTES, 256 * sizeof *bytes);
    uint32_t *first = new_section(b, VOCAB_FIRST_PAIRS, 65536 * sizeof *first);
    memset(bytes, 0xff, 256 * sizeof *bytes);
    memset(first, 0xff, 65536 * sizeof *first);
    for (uint32_t rank = 0; rank < b->count; rank++) {
        const struct token *t = &b->tokens[rank];
        uint32_t shorter = VOCAB_NONE;
        halves[rank] = t->length > 1 ? split_token(b, rank) : (struct vocab_halves){ rank, rank };
        for (uint32_t n = t->length; n-- > 1 && shorter == VOCAB_NONE;)
            shorter = find_content(b, t->bytes, n);
        prefixes[rank] = (shorter & VOCAB_NO_TOKEN) << 8 | t->length;
        if (t->length == 1)
            bytes[t->bytes[0]] = rank;
        if (t->length == 2)
            first[t->bytes[0] << 8 | t->bytes[1]] = rank;
    }
    for (unsigned c = 0; c < 256; c++)
        if (bytes[c] >= 256)
            die("byte %u has no token among the first 256 ranks", c);
}

/* ---- the pair table ---------------------------------------------------------------------------------------------- */

struct pair_groups {
    uint32_t first[VOCAB_GROUPS], size[VOCAB_GROUPS]; /* rank + 1 of a member, 0: none */
    uint32_t *next;                                   /* by rank: rank + 1 of the group's next member */
    uint32_t largest;
};

static uint64_t pair_hash(const struct build *b, uint32_t rank)
{
    const struct vocab_halves *pair = (const struct vocab_halves *)b->section[VOCAB_HALVES] + rank;
    return vocab_pair_key(pair->left, pair->right) * b->header.pair_multiplier;
}

static void group_pairs(const struct build *b, struct pair_groups *g)
{
    memset(g->first, 0, sizeof g->first);
    memset(g->size, 0, sizeof g->size);
    g->largest = 0;
    for (uint32_t rank = 0; rank < b->count; rank++) {
        if (b->tokens[rank].length < 2)
            continue;
        uint32_t group = (uint32_t)(pair_hash(b, rank) >> (64 - VOCAB_GROUP_BITS));
        g->next[rank] = g->first[group];
        g->first[group] = rank + 1;
        if (++g->size[group] > g->largest)
            g->largest = g->size[group];
    }
}

/* Puts a group's pairs into the table, or leaves it as it was when two fall together. */
static bool place_group(const struct build *b, const struct pair_groups *g, uint32_t group, uint8_t shift, uint64_t *pairs)
{
    const struct vocab_halves *halves = b->section[VOCAB_HALVES];
    uint32_t i, bits = b->header.pair_bits;
    for (i = g->first[group]; i; i = g->next[i - 1]) {
        uint64_t *slot = &pairs[vocab_pair_slot(pair_hash(b, i - 1), shift, bits)];
        if (*slot != VOCAB_PAIR_EMPTY)
            break;
        *slot = vocab_pair_entry(halves[i - 1].left, halves[i - 1].right, i - 1);
    }
    for (uint32_t k = g->first[group]; i && k != i; k = g->next[k - 1])
        pairs[vocab_pair_slot(pair_hash(b, k - 1), shift, bits)] = VOCAB_PAIR_EMPTY;
    return i == 0;
}

/* The large groups first, while there is room. False: not with this multiplier. */
static bool place_pairs(const struct build *b, const struct pair_groups *g, uint64_t *pairs, uint8_t *shifts)
{
    for (size_t i = 0; i < (size_t)1 << b->header.pair_bits; i++)
        pairs[i] = VOCAB_PAIR_EMPTY;
    for (uint32_t size = g->largest; size > 0; size--)
        for (uint32_t group = 0; group < VOCAB_GROUPS; group++) {
            unsigned shift = 0;
            if (g->size[group] != size)
                continue;
            while (shift < 256 && !place_group(b, g, group, (uint8_t)shift, pairs))
                shift++;
            if (shift == 256)
                return false;
            shifts[group] = (uint8_t)shift;
        }
    return true;
}

static void build_pairs(struct build *b)
{
    struct pair_groups *g = zalloc(1, sizeof *g);
    uint32_t bits = 16;
    while ((1u << bits) < b->count + b->count / 4)
        bits++;
    b->header.pair_bits = bits;
    uint64_t *pairs = new_section(b, VOCAB_PAIRS, sizeof(uint64_t) << bits);
    uint8_t *shifts = new_section(b, VOCAB_SHIFTS, VOCAB_GROUPS);
    g->next = zalloc(b->count, sizeof *g->next);
    b->header.pair_multiplier = 0x9e3779b97f4a7c15u;
    for (int tries = 0;; tries++) {
        group_pairs(b, g);
        if (place_pairs(b, g, pairs, shifts))
            break;
        if (tries == 1000)
            die("the pair table does not fit");
        b->header.pair_multiplier = b->header.pair_multiplier * 6364136223846793005u + 2; /* stays odd */
    }
    free(g->next);
    free(g);
}

/* ---- tokens by content --------------------------------------------------------------------------------------------- */

/* A full bucket spills into the next one; readers stop at the first bucket with an empty place. */
static void build_whole(struct build *b)
{
    uint32_t wanted = 0, bits = 8;
    for (uint32_t rank = 0; rank < b->count; rank++)
        wanted += b->tokens[rank].length >= 1 && b->tokens[rank].length <= 15;
    while ((4u << bits) < wanted + wanted / 4)
        bits++;
    b->header.whole_bits = bits;
    struct vocab_piece *whole = new_section(b, VOCAB_WHOLE, (size_t)64 << bits);
    for (uint32_t rank = 0; rank < b->count; rank++) {
        const struct token *t = &b->tokens[rank];
        if (t->length < 1 || t->length > 15)
            continue;
        struct vocab_piece piece = { 0, 0 };
        uint8_t raw[16] = { 0 };
        memcpy(raw, t->bytes, t->length);
        raw[15] = (uint8_t)t->length;
        memcpy(&piece.low, raw, 8);
        memcpy(&piece.high, raw + 8, 8);
        uint32_t bucket = vocab_piece_bucket(vocab_piece_hash(piece.low, piece.high), bits), i = 0;
        for (;; bucket = (bucket + 1) & ((1u << bits) - 1)) {
            for (i = 0; i < 4 && whole[bucket * 4 + i].high; i++) {
            }
            if (i < 4)
                break;
        }
        whole[bucket * 4 + i] = piece;
    }
}

/* ---- the trie ---------------------------------------------------------------------------------------------------- */

#define TRIE_CAPACITY (1u << 22)
#define TRIE_FREE 511u

struct trie {
    struct vocab_state *states;
    uint8_t *base_used;    /* one base belongs to one state: that is why a label alone proves the parent */
    uint8_t *failures;     /* how often a slot was tried in vain as the first child's */
    uint32_t *next;        /* the list of slots worth trying; slot 0 is its head */
    uint32_t size;         /* states in use */
};

/* A slot that failed often is dropped from the list, else packing takes quadratic time; it may still take a later child. */
static uint32_t trie_find_base(struct trie *t, const uint8_t *labels, uint32_t count)
{
    for (uint32_t before = 0, slot; (slot = t->next[before]) < TRIE_CAPACITY - 512;) {
        bool taken = t->states[slot].link != TRIE_FREE;
        if (taken || t->failures[slot] > 30) {
            t->next[before] = t->next[slot];
            continue;
        }
        before = slot;
        if (slot < 256u + labels[0])
            continue;
        uint32_t base = slot - labels[0], i = 1;
        while (!t->base_used[base] && i < count && t->states[base + labels[i]].link == TRIE_FREE)
            i++;
        if (!t->base_used[base] && i >= count)
            return base;
        t->failures[slot]++;
    }
    die("the trie does not fit");
}

static void trie_add(const struct build *b, struct trie *t, const uint32_t *sorted, uint32_t from, uint32_t to, uint32_t depth,
                     uint32_t state)
{
    uint8_t labels[256];
    uint32_t starts[257], count = 0;
    if (b->tokens[sorted[from]].length == depth)
        t->states[state].longest = sorted[from++] | depth << VOCAB_RANK_BITS;
    for (uint32_t i = from; i < to; i++) {
        uint8_t label = b->tokens[sorted[i]].bytes[depth];
        if (count == 0 || labels[count - 1] != label) {
            labels[count] = label;
            starts[count++] = i;
        }
    }
    if (count == 0)
        return; /* base 0: slots below 256 are never used, so nothing follows */
    starts[count] = to;
    uint32_t base = trie_find_base(t, labels, count);
    t->base_used[base] = 1;
    t->states[state].link = base << 9 | (t->states[state].link & 511u);
    for (uint32_t i = 0; i < count; i++) {
        t->states[base + labels[i]] = (struct vocab_state){ labels[i], t->states[state].longest };
        if (base + labels[i] >= t->size)
            t->size = base + labels[i] + 1;
    }
    for (uint32_t i = 0; i < count; i++)
        trie_add(b, t, sorted, starts[i], starts[i + 1], depth + 1, base + labels[i]);
}

static const struct token *sort_tokens;

static int by_bytes(const void *left, const void *right)
{
    const struct token *a = &sort_tokens[*(const uint32_t *)left], *c = &sort_tokens[*(const uint32_t *)right];
    uint32_t n = a->length < c->length ? a->length : c->length;
    int order = memcmp(a->bytes, c->bytes, n);
    return order ? order : (a->length > c->length) - (a->length < c->length);
}

static uint32_t child(const struct vocab_state *states, uint32_t state, uint32_t byte)
{
    uint32_t i = (states[state].link >> 9) + byte;
    return state != 0 && (states[i].link & 511u) == byte ? i : 0;
}

static void build_starts(struct build *b, const struct vocab_state *states)
{
    uint32_t *starts = new_section(b, VOCAB_STARTS, 65536 * sizeof *starts);
    for (uint32_t i = 0; i < 65536; i++)
        starts[i] = child(states, child(states, b->header.root, i >> 8), i & 255);
}

static void build_trie(struct build *b)
{
    uint32_t *sorted = zalloc(b->used, sizeof *sorted), n = 0;
    for (uint32_t rank = 0; rank < b->count; rank++)
        if (b->tokens[rank].length)
            sorted[n++] = rank;
    sort_tokens = b->tokens;
    qsort(sorted, n, sizeof *sorted, by_bytes);

    struct trie t = { .states = zalloc(TRIE_CAPACITY, sizeof *t.states),
                      .base_used = zalloc(TRIE_CAPACITY, 1),
                      .failures = zalloc(TRIE_CAPACITY, 1),
                      .next = zalloc(TRIE_CAPACITY, sizeof *t.next) };
    for (uint32_t i = 0; i < TRIE_CAPACITY; i++) {
        t.states[i] = (struct vocab_state){ TRIE_FREE, 0 };
        t.next[i] = i < 257 ? 257 : i + 1;
    }
    t.states[256].link = 510; /* the root: a label no byte has */
    t.size = 257;
    trie_add(b, &t, sorted, 0, n, 0, 256);
    b->header.root = 256;
    b->header.states = t.size + 256;
    struct vocab_state *out = new_section(b, VOCAB_TRIE, b->header.states * sizeof *out);
    memcpy(out, t.states, b->header.states * sizeof *out);
    build_starts(b, out);
    free(t.states);
    free(t.base_used);
    free(t.failures);
    free(t.next);
    free(sorted);
}

/* ---- character classes ------------------------------------------------------------------------------------------- */

static void build_classes(struct build *b, const char *path)
{
    size_t length;
    char *text = (char *)read_file(path, &length), *rest = NULL;
    uint8_t *flat = zalloc(0x110000, 1);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        unsigned from, to, what;
        if (line[0] == '#')
            continue;
        if (sscanf(line, "%x %x %u", &from, &to, &what) != 3 || from > to || to > 0x10ffff || what > CHAR_NEWLINE)
            die("%s: wrong line: %s", path, line);
        memset(flat + from, (int)what, to - from + 1);
    }
    uint8_t *index = new_section(b, VOCAB_CLASS_INDEX, CHAR_BLOCKS);
    uint8_t *blocks = zalloc(CHAR_BLOCKS, 128);
    uint32_t used = 0;
    for (uint32_t i = 0; i < CHAR_BLOCKS; i++) {
        uint32_t j = 0;
        while (j < used && memcmp(blocks + j * 128, flat + i * 128, 128) != 0)
            j++;
        if (j == used)
            memcpy(blocks + used++ * 128, flat + i * 128, 128);
        if (j > 255)
            die("%s: more than 256 different blocks", path);
        index[i] = (uint8_t)j;
    }
    memcpy(new_section(b, VOCAB_CLASSES, used * 128), blocks, used * 128);
    free(blocks);
    free(flat);
    free(text);
}

static void write_image(struct build *b, const char *path)
{
    uint64_t at = (sizeof b->header + 63) / 64 * 64;
    for (int i = 0; i < VOCAB_SECTIONS; i++) {
        b->header.offset[i] = at;
        at = (at + b->header.bytes[i] + 63) / 64 * 64;
    }
    b->header.size = at;
    uint8_t *image = zalloc(at, 1);
    memcpy(image, &b->header, sizeof b->header);
    for (int i = 0; i < VOCAB_SECTIONS; i++)
        memcpy(image + b->header.offset[i], b->section[i], b->header.bytes[i]);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(image, 1, at, f) != at || fclose(f) != 0)
        die("%s: %s", path, strerror(errno));
    free(image);
}

static void release(struct build *b)
{
    for (int i = 0; i < VOCAB_SECTIONS; i++)
        free(b->section[i]);
    for (uint32_t i = 0; i < b->file_count; i++)
        free(b->files[i]);
    free(b->by_content);
    free(b->tokens);
}

int main(int argc, char **argv)
{
    static const char *const patterns[] = { [VOCAB_O200K] = "o200k", [VOCAB_CL100K] = "cl100k", [VOCAB_GPT2] = "gpt2" };
    if (argc < 6)
        die("usage: vocab_build NAME o200k|cl100k|gpt2 UNICODE.tsv OUT.tgv FILE.tkv [FILE.tkv ...]");
    struct build b = { .count = 0 };
    memcpy(b.header.magic, VOCAB_MAGIC, sizeof b.header.magic);
    b.header.byte_order = VOCAB_BYTE_ORDER;
    b.header.version = VOCAB_VERSION;
    if (strlen(argv[1]) >= sizeof b.header.name)
        die("%s: name too long", argv[1]);
    snprintf(b.header.name, sizeof b.header.name, "%s", argv[1]);
    for (uint32_t i = 1; i < sizeof patterns / sizeof *patterns; i++)
        if (strcmp(argv[2], patterns[i]) == 0)
            b.header.pattern = i;
    if (b.header.pattern == 0)
        die("%s: no such pattern", argv[2]);
    for (int i = 5; i < argc; i++)
        load_ranks(&b, argv[i]);
    b.header.tokens = b.count;
    b.header.used = b.used;
    index_content(&b);
    build_classes(&b, argv[3]);
    build_facts(&b);
    build_pairs(&b);
    build_whole(&b);
    build_trie(&b);
    write_image(&b, argv[4]);
    release(&b);
    return 0;
}
