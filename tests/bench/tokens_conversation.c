/* What remembering strings saves: a conversation that is sent again with every turn. Messages come from a file as
 * tokens_speed.py writes it (name, NUL, length in decimal, NUL, bytes); each is the inside of a JSON string.
 *
 * usage: bench_tokens_conversation FILE ENCODING
 * One line a turn (all that was said, and a new question): its number, bytes, and microseconds of CPU time to count it without
 * and with the history cache; both have the piece cache. The best of some replays, each with new counters. */
#include "tokens/count.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST 1000
#define REPLAYS 15

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The time of each turn, if it is the best so far. Returns the tokens of the last one. */
static int64_t replay(const struct tokenizer *t, size_t history, const struct slice *messages, size_t count, double *best)
{
    struct token_counter_options options = { .piece_cache_bytes = 4 << 20, .history_cache_bytes = history };
    struct token_counter *c = token_counter_new(&options);
    int64_t tokens = 0;
    if (!c)
        exit(1);
    for (size_t turn = 0; turn < count / 2; turn++) {
        double start = now();
        tokens = 0;
        for (size_t i = 0; i < turn * 2 + 1; i++)
            tokens += token_count_json_string(c, t, messages[i], true, NULL);
        double took = now() - start;
        best[turn] = best[turn] == 0 || took < best[turn] ? took : best[turn];
    }
    token_counter_free(c);
    return tokens;
}

int main(int argc, char **argv)
{
    static struct slice messages[MOST];
    static double without[MOST], with[MOST];
    char why[512], *name = NULL, *length = NULL;
    size_t name_room = 0, length_room = 0, count = 0, bytes = 0;
    if (argc < 3) {
        fputs("usage: bench_tokens_conversation FILE ENCODING\n", stderr);
        return 2;
    }
    struct tokenizer_set *set = tokenizer_set_open(NULL, why, sizeof why);
    const struct tokenizer *t = set ? tokenizer_set_find(set, slice_cstr(argv[2])) : NULL;
    FILE *f = fopen(argv[1], "rb");
    if (!t || !f) {
        fprintf(stderr, "%s\n", set ? "no such encoding or file" : why);
        return 1;
    }
    while (count < MOST && getdelim(&name, &name_room, 0, f) > 0 && getdelim(&length, &length_room, 0, f) > 0) {
        size_t n = strtoul(length, NULL, 10);
        char *text = malloc(n + 1);
        if (!text || fread(text, 1, n, f) != n)
            return 1;
        messages[count++] = slice_make(text, n);
    }
    for (int i = 0; i < REPLAYS; i++)
        if (replay(t, 0, messages, count, without) != replay(t, 2 << 20, messages, count, with)) {
            fputs("the history cache changed a count\n", stderr);
            return 1;
        }
    for (size_t turn = 0; turn < count / 2; turn++) {
        bytes += messages[turn * 2].n + (turn ? messages[turn * 2 - 1].n : 0);
        printf("%zu %zu %.2f %.2f\n", turn + 1, bytes, without[turn] * 1e6, with[turn] * 1e6);
    }
    for (size_t i = 0; i < count; i++)
        free((char *)messages[i].p);
    free(name);
    free(length);
    fclose(f);
    tokenizer_set_close(set);
    return 0;
}
