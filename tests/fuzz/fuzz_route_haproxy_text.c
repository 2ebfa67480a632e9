/* A haproxy.cfg: any bytes are read or refused, and what is read can be reviewed. */
#include "route/haproxy_review.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct haproxy_bind bind_any = { .address = ":8080" };
    static const struct haproxy_group group = { .name = "own", .url = "https://llm.example.com/v1" };
    const struct haproxy_plan plan = { .binds = &bind_any, .bind_count = 1, .groups = &group, .group_count = 1, .lua = true };
    struct haproxy_review_result found;
    char why[256] = "", *said = NULL;
    size_t n = 0;
    struct arena *a = arena_new(4096);
    FILE *out = open_memstream(&said, &n);

    if (a == NULL || out == NULL)
        abort();
    struct haproxy_text t = { .arena = a };
    if (haproxy_text_add(&t, "f.cfg", slice_make((const char *)data, size), why, sizeof why)) {
        if (!haproxy_review(&t, &plan, out, &found))
            abort();
    } else if (why[0] == '\0') {
        abort();
    }
    fclose(out);
    free(said);
    arena_free(a);
    return 0;
}
