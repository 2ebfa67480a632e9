/* Any bytes as the log stream: framed the same whole and byte by byte, lines parsed or refused with a reason. */
#include "settle/settle_line.h"
#include "settle/settle_octets.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static size_t run(const uint8_t *data, size_t size, size_t step, struct arena *a)
{
    struct settle_octets *o = settle_octets_new(1000);
    struct slice line;
    struct settle_line l;
    const char *why;
    size_t seen = 0;
    int rc = 0;

    CHECK(o != NULL);
    for (size_t at = 0; at < size && rc >= 0; at += step) {
        struct slice in = slice_make((const char *)data + at, size - at < step ? size - at : step);
        while ((rc = settle_octets_next(o, &in, &line, &why)) == 1) {
            CHECK(line.n > 0 && line.n <= 1000);
            seen = seen * 31 + line.n;
            if (settle_line_parse(line, a, &l, &why) == 0)
                CHECK(l.id.n > 0 && (l.tier == 1 || l.tier == 2));
            else
                CHECK(why != NULL);
        }
    }
    settle_octets_free(o);
    return seen * 4 + (size_t)(rc + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(4096);
    struct settle_line l;
    const char *why;

    CHECK(a != NULL);
    (void)!settle_line_parse(slice_make((const char *)data, size), a, &l, &why);
    if (size > 0)
        CHECK(run(data, size, size, a) == run(data, size, 1, a));
    arena_free(a);
    return 0;
}
