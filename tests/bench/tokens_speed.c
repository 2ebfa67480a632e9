/* How fast texts are counted. Texts come from a file made by tokens_speed.py: name, NUL, length in decimal, NUL, bytes, repeated.
 *
 * usage: bench_tokens_speed FILE ENCODING [PATH]
 * The first line says how long opening took, the second what it costs in memory. Then one line a text: name, bytes, tokens, and MB/s
 * (10^6 bytes of CPU time): without caches, from an empty piece cache, with a warm one, and as a JSON string that the history cache knows. */
#include "tokens/count.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Memory that is this process's own and no file's, kB. */
static long private_kb(void)
{
    char line[256];
    long kb = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    while (f && kb < 0 && fgets(line, sizeof line, f))
        if (sscanf(line, "Anonymous: %ld", &kb) != 1)
            kb = -1;
    if (f)
        fclose(f);
    return kb;
}

/* Of the mappings of files whose names end so, kB: their size, and what was written to (so no longer shared). */
static void mapped_kb(const char *suffix, long *size, long *dirty)
{
    char line[1024];
    bool ours = false;
    long kb;
    FILE *f = fopen("/proc/self/smaps", "re");
    *size = *dirty = 0;
    while (f && fgets(line, sizeof line, f)) {
        size_t n = strcspn(line, "\n"), k = strlen(suffix);
        line[n] = '\0';
        if (strstr(line, " kB") == NULL && strchr(line, '-') != NULL)
            ours = n >= k && strcmp(line + n - k, suffix) == 0;
        else if (ours && sscanf(line, "Size: %ld", &kb) == 1)
            *size += kb;
        else if (ours && sscanf(line, "Private_Dirty: %ld", &kb) == 1)
            *dirty += kb;
    }
    if (f)
        fclose(f);
}

/* `before`: private_kb before the images were opened. */
static void memory_print(const struct tokenizer *t, long before)
{
    char suffix[64];
    long opened = private_kb() - before, size, dirty, all, all_dirty;
    struct token_counter *c = token_counter_new(NULL);
    if (!c || token_counter_prepare(c, t) != 0)
        exit(1);
    long prepared = private_kb() - before - opened;
    snprintf(suffix, sizeof suffix, "/%s.tgv", tokenizer_name(t));
    mapped_kb(suffix, &size, &dirty);
    mapped_kb(".tgv", &all, &all_dirty);
    printf("%s: %.1f MB mapped and shared, of which %.1f MB private; all encodings %.1f MB mapped, %.1f MB private; beside them %.1f MB private, "
           "and %.1f MB for each thread's caches\n", tokenizer_name(t), (double)size / 1024, (double)dirty / 1024, (double)all / 1024,
           (double)all_dirty / 1024, (double)opened / 1024, (double)prepared / 1024);
    token_counter_free(c);
}

static int64_t counted;

/* MB/s of the best of some runs; each at least 20 ms long. */
static double speed(struct token_counter *c, const struct tokenizer *t, enum token_input how, struct slice s, int runs)
{
    double best = 0;
    for (int run = 0; run < runs; run++) {
        double start = now(), end = start;
        size_t bytes = 0;
        do {
            struct token_count count;
            if (token_count_bytes(c, t, how, s, &count) != 0)
                exit(1);
            counted = count.tokens;
            bytes += s.n;
            end = now();
        } while (end - start < 0.02 && runs > 1);
        double mbs = (double)bytes / 1e6 / (end - start > 1e-9 ? end - start : 1e-9);
        best = mbs > best ? mbs : best;
    }
    return best;
}

static void measure(const struct tokenizer *t, const char *path, const char *name, struct slice s)
{
    struct token_counter_options bare = { .force_path = path }, cached = { 4 << 20, 2 << 20, path };
    struct token_counter *a = token_counter_new(&bare), *b = token_counter_new(&cached);
    if (!a || !b) {
        fprintf(stderr, "this path does not exist here\n");
        exit(1);
    }
    int runs = s.n > 4000000 ? 2 : 5;
    double cacheless = speed(a, t, TOKENS_OF_TEXT, s, runs);
    double first = speed(b, t, TOKENS_OF_TEXT, s, 1);
    double warm = speed(b, t, TOKENS_OF_TEXT, s, runs);
    int64_t tokens = counted;
    speed(b, t, TOKENS_OF_JSON_STRING, s, 1);
    double history = speed(b, t, TOKENS_OF_JSON_STRING, s, 2);
    printf("%s %zu %lld %.1f %.1f %.1f %.0f\n", name, s.n, (long long)tokens, cacheless, first, warm, history);
    fflush(stdout);
    token_counter_free(a);
    token_counter_free(b);
}

int main(int argc, char **argv)
{
    char why[512];
    if (argc < 3) {
        fputs("usage: bench_tokens_speed FILE ENCODING [PATH]\n", stderr);
        return 2;
    }
    long before = private_kb();
    double best = 1e9;
    struct tokenizer_set *set = NULL;
    for (int run = 0; run < 9; run++) {
        tokenizer_set_close(set);
        double start = wall();
        set = tokenizer_set_open(NULL, why, sizeof why);
        if (!set) {
            fprintf(stderr, "%s\n", why);
            return 1;
        }
        double took = wall() - start;
        best = took < best ? took : best;
    }
    const struct tokenizer *t = tokenizer_set_find(set, slice_cstr(argv[2]));
    FILE *f = fopen(argv[1], "rb");
    if (!t || !f) {
        fputs("no such encoding or file\n", stderr);
        return 1;
    }
    printf("all encodings opened in %.2f ms (best of 9)\n", best * 1e3);
    memory_print(t, before);
    char *name = NULL, *length = NULL;
    size_t name_room = 0, length_room = 0;
    while (getdelim(&name, &name_room, 0, f) > 0 && getdelim(&length, &length_room, 0, f) > 0) {
        size_t n = strtoul(length, NULL, 10);
        char *text = malloc(n + 1);
        if (!text || fread(text, 1, n, f) != n)
            return 1;
        measure(t, argc > 3 ? argv[3] : NULL, name, slice_make(text, n));
        free(text);
    }
    free(name);
    free(length);
    fclose(f);
    tokenizer_set_close(set);
    return 0;
}
