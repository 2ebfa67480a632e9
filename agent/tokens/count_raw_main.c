/* tollgate-count: NUL-separated texts on standard input, one count per line on standard output.
 *
 * usage: tollgate-count --raw --encoding NAME [--json] [--path portable|sse2|avx2] [--no-cache]
 * --json reads each text as the content of a JSON string. A line ends in " replaced" when bytes had to be replaced. */
#include "tokens/count.h"

#include <stdio.h>
#include <stdlib.h>

static int count_all(struct token_counter *c, const struct tokenizer *t, enum token_input how)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t n;
    int status = 0;
    while (status == 0 && (n = getdelim(&text, &room, '\0', stdin)) >= 0) {
        struct token_count count;
        if (n > 0 && text[n - 1] == '\0')
            n--;
        status = token_count_bytes(c, t, how, slice_make(text, (size_t)n), &count);
        if (status == 0)
            printf("%lld%s\n", (long long)count.tokens, count.replaced ? " replaced" : "");
    }
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    struct token_counter_options options = { .piece_cache_bytes = 2 << 20, .history_cache_bytes = 2 << 20 };
    enum token_input how = TOKENS_OF_TEXT;
    const char *encoding = NULL;
    char why[512];
    for (int i = 1; i < argc; i++) {
        struct slice arg = slice_cstr(argv[i]);
        if (slice_eq_cstr(arg, "--encoding") && i + 1 < argc)
            encoding = argv[++i];
        else if (slice_eq_cstr(arg, "--path") && i + 1 < argc)
            options.force_path = argv[++i];
        else if (slice_eq_cstr(arg, "--json"))
            how = TOKENS_OF_JSON_STRING;
        else if (slice_eq_cstr(arg, "--no-cache"))
            options.piece_cache_bytes = options.history_cache_bytes = 0;
        else if (!slice_eq_cstr(arg, "--raw") && !slice_eq_cstr(arg, "count"))
            encoding = "";
    }
    struct tokenizer_set *set = tokenizer_set_open(NULL, why, sizeof why);
    if (!set) {
        fprintf(stderr, "tollgate-count: %s\n", why);
        return 1;
    }
    const struct tokenizer *t = encoding ? tokenizer_set_find(set, slice_cstr(encoding)) : NULL;
    struct token_counter *c = t ? token_counter_new(&options) : NULL;
    int status = 1;
    if (!t)
        fputs("usage: tollgate-count --raw --encoding o200k_base|cl100k_base|p50k_base|r50k_base|o200k_harmony "
              "[--json] [--path portable|sse2|avx2] [--no-cache]\n", stderr);
    else if (!c)
        fputs("tollgate-count: this path is not available here, or out of memory\n", stderr);
    else if (count_all(c, t, how) != 0)
        fputs("tollgate-count: out of memory\n", stderr);
    else
        status = 0;
    token_counter_free(c);
    tokenizer_set_close(set);
    return status;
}
