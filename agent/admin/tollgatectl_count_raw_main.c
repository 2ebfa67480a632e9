/* tollgatectl count --raw: plain texts, for scripts. */
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_count.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct tokenizer *ctl_encoding_find(const struct tokenizer_set *set, const char *name)
{
    const struct tokenizer *t = tokenizer_set_find(set, slice_cstr(name));

    if (t == NULL)
        fprintf(stderr, "tollgatectl: there is no encoding %s; known: o200k_base, cl100k_base, p50k_base, r50k_base, o200k_harmony\n", name);
    return t;
}

static struct token_counter *counter_make(const struct ctl_options *o)
{
    struct token_counter_options options = { .force_path = o->path };

    if (!o->no_cache) {
        options.piece_cache_bytes = 4 << 20;
        options.history_cache_bytes = 2 << 20;
    }
    struct token_counter *c = token_counter_new(&options);
    if (c == NULL && o->path != NULL)
        fprintf(stderr, "tollgatectl: there is no code path %s on this machine; known: avx512, avx2, sse2, neon, portable\n", o->path);
    else if (c == NULL)
        fprintf(stderr, "tollgatectl: out of memory\n");
    return c;
}

static int count_all(struct token_counter *c, const struct tokenizer *t, FILE *in)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t n;
    int64_t tokens = 0;

    while (tokens >= 0 && (n = getdelim(&text, &room, '\0', in)) >= 0) {
        if (n > 0 && text[n - 1] == '\0')
            n--;
        tokens = token_count_text(c, t, slice_make(text, (size_t)n), NULL);
        if (tokens >= 0)
            printf("%" PRId64 "\n", tokens);
    }
    free(text);
    if (tokens < 0)
        fprintf(stderr, "tollgatectl: out of memory\n");
    return tokens >= 0 ? CTL_DONE : CTL_FAILED;
}

int ctl_count_raw(const struct ctl_options *o, const struct tokenizer_set *set)
{
    bool standard = o->file == NULL || strcmp(o->file, "-") == 0;
    const struct tokenizer *t = ctl_encoding_find(set, o->encoding != NULL ? o->encoding : "o200k_base");
    struct token_counter *c = t != NULL ? counter_make(o) : NULL;
    FILE *in = c == NULL ? NULL : standard ? stdin : fopen(o->file, "rbe");
    int rc = in != NULL ? count_all(c, t, in) : CTL_FAILED;

    if (c != NULL && (in == NULL || ferror(in))) { /* a directory can be opened, but not read */
        fprintf(stderr, "tollgatectl: cannot read %s: %s\n", standard ? "standard input" : o->file, strerror(errno));
        rc = CTL_FAILED;
    }
    if (in != NULL && !standard)
        fclose(in);
    token_counter_free(c);
    return rc;
}
