/* Counts texts for aarch64.py: NUL-separated texts from standard input, one count a line.
 *
 * usage: count_raw DIRECTORY_OF_IMAGES ENCODING PATH cached|bare */
#include "tokens/count.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    char why[512], *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (argc != 5)
        return 2;
    struct tokenizer_set *set = tokenizer_set_open(argv[1], why, sizeof why);
    const struct tokenizer *t = set ? tokenizer_set_find(set, slice_cstr(argv[2])) : NULL;
    const bool cached = strcmp(argv[4], "cached") == 0;
    struct token_counter_options options = { cached ? 4 << 20 : 0, 0, argv[3] };
    struct token_counter *c = token_counter_new(&options);
    if (!t || !c || strcmp(token_counter_path(c), argv[3]) != 0) {
        fprintf(stderr, "%s\n", set ? "no such encoding or path" : why);
        return 1;
    }
    while ((n = getdelim(&line, &room, 0, stdin)) > 0) {
        bool replaced = false;
        printf("%lld\n", (long long)token_count_text(c, t, slice_make(line, (size_t)n - (line[n - 1] == '\0')), &replaced));
    }
    free(line);
    token_counter_free(c);
    tokenizer_set_close(set);
    return 0;
}
