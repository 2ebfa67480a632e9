/* A byte queue that grows: written at the end, taken off the front.
 *
 * Zeroed memory is an empty one. Owns its memory; relay_buffer_free gives it back. Appending fails only when memory is out or the queue
 * would pass RELAY_BUFFER_MAX; then nothing was appended, and `failed` stays set. */
#ifndef TOLLGATE_RELAY_BUFFER_H
#define TOLLGATE_RELAY_BUFFER_H

#include "base/slice.h"

#define RELAY_BUFFER_MAX ((size_t)16 << 20)

struct relay_buffer {
    char *p;
    size_t off, len, room; /* the content is p[off .. off + len) */
    bool failed;
};

void relay_buffer_add(struct relay_buffer *b, struct slice bytes);
/* The content; valid until the next call. */
struct slice relay_buffer_content(const struct relay_buffer *b);
/* Takes `n` bytes off the front; n <= len. An empty queue gives back memory beyond a small block. */
void relay_buffer_drop(struct relay_buffer *b, size_t n);
void relay_buffer_free(struct relay_buffer *b);

#endif
