/* What others say of traces: a traceparent, a tracestate, a collector's reply. */
#include "observe/otlp_json.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace_context t = { .flags = 0 };
    char why[32], text[TRACE_PARENT_BYTES + 1];
    int64_t rejected;
    char *copy = malloc(size > 0 ? size : 1); /* of exactly its size: a read beyond is seen */

    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    struct slice s = slice_make(size > 0 ? copy : NULL, size);
    if (trace_parent_parse(s, &t)) {
        memcpy(t.try_id[0], t.parent_id, sizeof t.parent_id);
        trace_parent_write(&t, 0, text);
        assert(memcmp(text, copy, TRACE_PARENT_BYTES - 2) == 0); /* all but the flags */
    }
    (void)trace_state_ok(s);
    if (otlp_json_reply(s, &rejected, why, sizeof why))
        assert(rejected >= 0);
    free(copy);
    return 0;
}
