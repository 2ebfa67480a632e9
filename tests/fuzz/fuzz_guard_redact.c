/* Any text: the room is enough, and nothing that is found reaches beyond the end. */
#include "guard/redact.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *in = malloc(size + 1), *out = malloc(GUARD_ROOM(size));

    if (in == NULL || out == NULL)
        abort();
    if (size > 0)
        memcpy(in, data, size);
    size_t n = guard_redact(slice_make(in, size), out);
    if (n > GUARD_ROOM(size))
        abort();
    enum guard_kind kind;
    for (size_t i = 0; i < size; i++) {
        size_t len = guard_match(slice_make(in, size), i, &kind);
        if (len > size - i)
            abort();
    }
    free(in);
    free(out);
    return 0;
}
