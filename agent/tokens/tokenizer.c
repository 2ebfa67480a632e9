#include "tokens/vocab.h"

#include <limits.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- special tokens: tiktoken_ext/openai_public.py, and the harmony format's list -------------------------------- */

struct special {
    const char *text;
    uint32_t id;
};

struct encoding {
    const char *name, *image;
    const struct special *specials;
};

static const struct special o200k_specials[] = { { "<|endoftext|>", 199999 }, { "<|endofprompt|>", 200018 }, { NULL, 0 } };
static const struct special harmony_specials[] = {
    { "<|startoftext|>", 199998 }, { "<|endoftext|>", 199999 }, { "<|return|>", 200002 }, { "<|constrain|>", 200003 },
    { "<|channel|>", 200005 },     { "<|start|>", 200006 },     { "<|end|>", 200007 },    { "<|message|>", 200008 },
    { "<|call|>", 200012 },        { "<|endofprompt|>", 200018 }, { NULL, 0 }
};
static const struct special cl100k_specials[] = {
    { "<|endoftext|>", 100257 },  { "<|fim_prefix|>", 100258 },  { "<|fim_middle|>", 100259 },
    { "<|fim_suffix|>", 100260 }, { "<|endofprompt|>", 100276 }, { NULL, 0 }
};
static const struct special gpt2_specials[] = { { "<|endoftext|>", 50256 }, { NULL, 0 } };

#define ENCODINGS 5
static const struct encoding encodings[ENCODINGS] = {
    { "o200k_base", "o200k_base", o200k_specials },   { "cl100k_base", "cl100k_base", cl100k_specials },
    { "p50k_base", "p50k_base", gpt2_specials },      { "r50k_base", "r50k_base", gpt2_specials },
    { "o200k_harmony", "o200k_base", harmony_specials },
};

static int encoding_number(struct slice name)
{
    if (slice_eq_cstr(name, "gpt2"))
        return 3;
    for (int i = 0; i < ENCODINGS; i++)
        if (slice_eq_cstr(name, encodings[i].name))
            return i;
    return -1;
}

/* ---- one image --------------------------------------------------------------------------------------------------- */

static const void *section(const struct tokenizer *t, enum vocab_section which)
{
    const struct vocab_header *h = t->map;
    return (const char *)t->map + h->offset[which];
}

/* The sizes the header must agree with itself on, so that a damaged file cannot send a reader outside the mapping. */
static bool sections_fit(const struct vocab_header *h, size_t file_size)
{
    if (h->size != file_size || h->tokens < 256 || h->tokens > VOCAB_RANKS_MOST || h->pair_bits > 24 ||
        h->whole_bits > 24 || h->pair_bits < 8 || h->whole_bits < 1 || h->states < 512 || h->root >= h->states - 256)
        return false;
    const uint64_t expected[VOCAB_SECTIONS] = {
        [VOCAB_CLASS_INDEX] = CHAR_BLOCKS,
        [VOCAB_CLASSES] = h->bytes[VOCAB_CLASSES],
        [VOCAB_HALVES] = (uint64_t)h->tokens * sizeof(struct vocab_halves),
        [VOCAB_PREFIXES] = (uint64_t)h->tokens * 4,
        [VOCAB_BYTES] = 256 * 4,
        [VOCAB_FIRST_PAIRS] = 65536 * 4,
        [VOCAB_PAIRS] = (uint64_t)8 << h->pair_bits,
        [VOCAB_SHIFTS] = VOCAB_GROUPS,
        [VOCAB_WHOLE] = (uint64_t)64 << h->whole_bits,
        [VOCAB_TRIE] = (uint64_t)h->states * sizeof(struct vocab_state),
        [VOCAB_STARTS] = 65536 * 4,
    };
    for (int i = 0; i < VOCAB_SECTIONS; i++)
        if (h->bytes[i] != expected[i] || h->offset[i] % 64 || h->offset[i] > file_size ||
            h->bytes[i] > file_size - h->offset[i])
            return false;
    return true;
}

static const char *check_header(const struct tokenizer *t)
{
    const struct vocab_header *h = t->map;
    if (t->map_size < sizeof *h || memcmp(h->magic, VOCAB_MAGIC, sizeof h->magic) != 0)
        return "not a vocabulary image";
    if (h->byte_order != VOCAB_BYTE_ORDER)
        return "made on a machine of the other byte order; build it again here";
    if (h->version != VOCAB_VERSION)
        return "made by another version of tollgate; build it again";
    if (!sections_fit(h, t->map_size))
        return "damaged or cut short; build it again";
    if (!memchr(h->name, 0, sizeof h->name) || encoding_number(slice_cstr(h->name)) < 0)
        return "an encoding this program does not know";
    if (h->pattern < VOCAB_O200K || h->pattern > VOCAB_GPT2)
        return "a way of cutting text that this program does not know";
    return NULL;
}

static void fill(struct tokenizer *t)
{
    const struct vocab_header *h = t->map;
    t->number = (uint32_t)encoding_number(slice_cstr(h->name));
    t->name = encodings[t->number].name;
    t->used = h->used;
    t->vocab = (struct vocab){
        .pattern = (enum vocab_pattern)h->pattern,
        .tokens = h->tokens,
        .pair_bits = h->pair_bits,
        .whole_bits = h->whole_bits,
        .states = h->states,
        .root = h->root,
        .class_index = section(t, VOCAB_CLASS_INDEX),
        .classes = section(t, VOCAB_CLASSES),
        .halves = section(t, VOCAB_HALVES),
        .prefixes = section(t, VOCAB_PREFIXES),
        .bytes = section(t, VOCAB_BYTES),
        .first_pairs = section(t, VOCAB_FIRST_PAIRS),
        .pairs = section(t, VOCAB_PAIRS),
        .shifts = section(t, VOCAB_SHIFTS),
        .pair_multiplier = h->pair_multiplier,
        .whole = section(t, VOCAB_WHOLE),
        .trie = section(t, VOCAB_TRIE),
        .starts = section(t, VOCAB_STARTS),
    };
}

struct tokenizer *tokenizer_open(const char *path, char *why, size_t why_size)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    int fd = -1;
    struct stat st;
    if (!t) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, why_size, "vocabulary %s: %s", path, strerror(errno));
        goto failed;
    }
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct vocab_header)) {
        snprintf(why, why_size, "vocabulary %s: not a vocabulary image", path);
        goto failed;
    }
    t->map_size = (size_t)st.st_size;
    t->map = mmap(NULL, t->map_size, PROT_READ, MAP_SHARED, fd, 0);
    if (t->map == MAP_FAILED) {
        t->map = NULL;
        snprintf(why, why_size, "vocabulary %s: %s", path, strerror(errno));
        goto failed;
    }
    const char *wrong = check_header(t);
    if (wrong) {
        snprintf(why, why_size, "vocabulary %s: %s", path, wrong);
        goto failed;
    }
    close(fd);
    /* Read ahead in the background: the first counts then find the pages in the page cache. */
    madvise(t->map, t->map_size, MADV_WILLNEED);
    fill(t);
    return t;
failed:
    if (fd >= 0)
        close(fd);
    tokenizer_close(t);
    return NULL;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    if (t->map)
        munmap(t->map, t->map_size);
    free(t);
}

const char *tokenizer_name(const struct tokenizer *t)
{
    return t->name;
}

uint32_t tokenizer_size(const struct tokenizer *t)
{
    return t->used;
}

int64_t tokenizer_special(const struct tokenizer *t, struct slice text)
{
    for (const struct special *s = encodings[t->number].specials; s->text; s++)
        if (slice_eq_cstr(text, s->text))
            return s->id;
    return -1;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

struct tokenizer_set {
    struct tokenizer *of[ENCODINGS];
};

static struct tokenizer *harmony_of(const struct tokenizer *o200k)
{
    struct tokenizer *t = malloc(sizeof *t);
    if (!t)
        return NULL;
    *t = *o200k;
    t->map = NULL;
    t->number = ENCODINGS - 1;
    t->name = encodings[t->number].name;
    return t;
}

/* The vocabularies beside the running program: in its folder's share/tollgate (a build), or its parent's (an installation, wherever it
 * was moved); else where the build was told to install. */
static const char *default_dir(char *buf, size_t size)
{
    const char *dir = getenv("TOLLGATE_TOKENIZERS");
    if (dir && *dir)
        return dir;
    static const char *const places[] = {"/share/tollgate", "/../share/tollgate"};
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    program[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(program, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        int folder = snprintf(buf, size, "%.*s%s", (int)(slash - program), program, places[i]);
        int image = snprintf(buf, size, "%.*s%s/o200k_base.tgv", (int)(slash - program), program, places[i]);
        if (image < (int)size && access(buf, R_OK) == 0) {
            buf[folder] = '\0';
            return buf;
        }
    }
    return TOKENIZERS_INSTALLED;
}

struct tokenizer_set *tokenizer_set_open(const char *dir, char *why, size_t why_size)
{
    struct tokenizer_set *set = calloc(1, sizeof *set);
    if (!set) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    char beside[PATH_MAX];
    if (!dir)
        dir = default_dir(beside, sizeof beside);
    for (int i = 0; i < ENCODINGS; i++) {
        char path[4096];
        if (strcmp(encodings[i].name, encodings[i].image) != 0) {
            set->of[i] = harmony_of(set->of[0]);
            if (!set->of[i])
                snprintf(why, why_size, "out of memory");
        } else if (snprintf(path, sizeof path, "%s/%s.tgv", dir, encodings[i].image) >= (int)sizeof path) {
            snprintf(why, why_size, "vocabulary directory: path too long");
        } else {
            set->of[i] = tokenizer_open(path, why, why_size);
            if (set->of[i] && strcmp(set->of[i]->name, encodings[i].name) != 0) {
                snprintf(why, why_size, "vocabulary %s: holds %s", path, set->of[i]->name);
                tokenizer_close(set->of[i]);
                set->of[i] = NULL;
            }
        }
        if (!set->of[i]) {
            tokenizer_set_close(set);
            return NULL;
        }
    }
    return set;
}

void tokenizer_set_close(struct tokenizer_set *set)
{
    if (!set)
        return;
    for (int i = 0; i < ENCODINGS; i++)
        tokenizer_close(set->of[i]);
    free(set);
}

const struct tokenizer *tokenizer_set_find(const struct tokenizer_set *set, struct slice name)
{
    int i = encoding_number(name);
    return i < 0 ? NULL : set->of[i];
}
