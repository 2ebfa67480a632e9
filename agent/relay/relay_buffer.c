#include "relay/relay_buffer.h"

#include "base/private.h"

#include <string.h>

enum { SMALL = 64 * 1024 };

static bool room_for(struct relay_buffer *b, size_t n)
{
    if (b->room - b->off - b->len >= n)
        return true;
    if (b->off > 0) {
        memmove(b->p, b->p + b->off, b->len);
        explicit_bzero(b->p + b->len, b->off);
        b->off = 0;
        if (b->room - b->len >= n)
            return true;
    }
    if (n > RELAY_BUFFER_MAX - b->len)
        return false;
    size_t room = b->room == 0 ? 4096 : b->room;
    while (room < b->len + n)
        room *= 2;
    char *grown = private_realloc(b->p, room);
    if (grown == NULL)
        return false;
    b->p = grown;
    b->room = room;
    return true;
}

void relay_buffer_add(struct relay_buffer *b, struct slice bytes)
{
    if (bytes.n == 0 || b->failed)
        return;
    if (!room_for(b, bytes.n)) {
        b->failed = true;
        return;
    }
    memcpy(b->p + b->off + b->len, bytes.p, bytes.n);
    b->len += bytes.n;
}

struct slice relay_buffer_content(const struct relay_buffer *b)
{
    return b->len > 0 ? slice_make(b->p + b->off, b->len) : SLICE_NONE;
}

void relay_buffer_drop(struct relay_buffer *b, size_t n)
{
    b->off += n;
    b->len -= n;
    if (b->len > 0)
        return;
    if (b->room <= SMALL && b->p != NULL) /* requests on their way to the second tier carry keys */
        explicit_bzero(b->p, b->off);
    b->off = 0;
    if (b->room > SMALL) {
        private_free(b->p);
        b->p = NULL;
        b->room = 0;
    }
}

void relay_buffer_free(struct relay_buffer *b)
{
    private_free(b->p);
    *b = (struct relay_buffer){ .p = NULL };
}
