/* Any bytes as a settlement stream, whole and in pieces: both see the same records, memory stays within the limit. */
#include "settle/settle_record.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

enum { LIMIT = 4096 };

struct seen {
    int last;
    size_t good, unusable, bytes;
};

static struct seen run(const uint8_t *data, size_t size, size_t step)
{
    struct settle_reader *r = settle_reader_new(LIMIT);
    struct settle_record rec;
    struct seen seen = { 0 };
    const char *why;

    CHECK(r != NULL);
    for (size_t at = 0; at < size && seen.last != -1; at += step) {
        size_t n = size - at < step ? size - at : step;
        char *room = settle_reader_room(r, n);
        CHECK(room != NULL);
        memcpy(room, data + at, n);
        settle_reader_take(r, n);
        while ((seen.last = settle_reader_next(r, &rec, &why)) == 1 || seen.last == -2) {
            CHECK((why == NULL) == (seen.last == 1));
            seen.good += seen.last == 1;
            seen.unusable += seen.last != 1;
            if (seen.last == 1)
                CHECK(rec.id.n > 0);
            /* Touch what is pointed to. */
            const struct slice all[] = { rec.id, rec.group, rec.usage, rec.model, rec.body, rec.provider_id, rec.retry_after };
            for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                for (size_t k = 0; k < all[i].n; k++)
                    seen.bytes += (unsigned char)all[i].p[k];
        }
    }
    settle_reader_free(r);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct seen whole = run(data, size, size), bytes = run(data, size, 1), some = run(data, size, 7);
    CHECK(whole.last == bytes.last && whole.good == bytes.good && whole.unusable == bytes.unusable && whole.bytes == bytes.bytes);
    CHECK(whole.last == some.last && whole.good == some.good && whole.bytes == some.bytes);
    return 0;
}
