/* Any bytes as a provider's response, in pieces: no crash, and what a client gets of an event stream is whole chunked coding whose every
 * event ends, whatever the provider did. The first byte chooses the pieces and the dialect. */
#include "relay/relay_stream.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned judge(void *user, struct slice event)
{
    (void)user;
    return event.n == 0 ? 0 : (unsigned)(unsigned char)event.p[event.n / 2] & 31;
}

static void check(struct slice out)
{
    struct relay_response head;
    struct relay_chunks c = { .state = RELAY_CHUNK_SIZE };

    int rc = relay_response_parse(out, &head);
    while (rc == 1 && head.status < 200 && head.status != 101) {
        out = slice_make(out.p + head.size, out.n - head.size);
        rc = relay_response_parse(out, &head);
    }
    if (rc != 1)
        abort();
    if (!head.event_stream)
        return;
    out = slice_make(out.p + head.size, out.n - head.size);
    while (out.n > 0 && c.state < RELAY_CHUNK_DONE)
        (void)relay_chunks_next(&c, &out);
    if (c.state != RELAY_CHUNK_DONE || out.n > 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t step = (size_t)(data[0] & 15) + 1;
    struct relay_rules rules = { .shape = (enum relay_shape)((data[0] >> 4) % 3), .may_retry = data[0] >> 7, .attempt = 1,
                                 .group = SLICE_LIT("group"), .judge = judge };
    struct relay_stream s;
    relay_stream_init(&s, &rules);
    for (size_t i = 1; i < size; i += step)
        relay_stream_take(&s, slice_make((const char *)data + i, size - i < step ? size - i : step));
    bool plain = s.state == RELAY_PLAIN;
    relay_stream_eof(&s);
    if (s.state != RELAY_ENDED)
        abort();
    if (!plain)
        check(relay_buffer_content(&s.out));
    relay_stream_free(&s);
    return 0;
}
