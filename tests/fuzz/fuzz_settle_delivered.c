/* Any bytes as a response body: never more text than body, never less when more of it arrived, usage always parsable or refused. */
#include "settle/delivered.h"
#include "settle/usage.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static size_t total(const struct delivered *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->text_count; i++) {
        CHECK(d->texts[i].text.n > 0 && d->texts[i].kind < DELIVERED_KINDS);
        n += d->texts[i].text.n;
    }
    return n;
}

static void check_usage(struct slice json)
{
    struct usage_report u;
    const char *why;
    if (json.n == 0 || usage_parse(json, &u, &why) != 0)
        return;
    const int64_t all[] = { u.tokens.input, u.tokens.input_cached, u.tokens.input_cache_write, u.tokens.input_cache_write_1h,
                            u.tokens.output, u.tokens.output_reasoning, u.tokens.input_audio, u.tokens.output_audio };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CHECK(all[i] >= 0 && all[i] <= 2 * (int64_t)USAGE_MAX_TOKENS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(65536);
    struct delivered d;

    CHECK(a != NULL);
    for (int sse = 0; sse < 2; sse++) {
        CHECK(delivered_read(slice_make((const char *)data, size), sse, a, &d) == 0);
        CHECK(total(&d) <= size);
        CHECK(d.text_count == 0 || d.choices > 0);
        check_usage(d.usage);
        check_usage(d.first_usage);
    }
    check_usage(slice_make((const char *)data, size));
    arena_free(a);
    return 0;
}
