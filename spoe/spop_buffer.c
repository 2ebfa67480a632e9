#include "spop_conn_private.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SIZE = 512 };

bool buffer_reserve(struct byte_buffer *b, size_t n)
{
    if (n <= b->cap - b->head - b->len)
        return true;
    if (b->head != 0 && (b->len <= b->head || n <= b->cap - b->len)) {
        memmove(b->p, b->p + b->head, b->len);
        b->head = 0;
        if (n <= b->cap - b->len)
            return true;
    }
    size_t used = b->head + b->len;
    if (n > SIZE_MAX / 2 - used)
        return false;
    size_t cap = b->cap > FIRST_SIZE / 2 ? b->cap * 2 : FIRST_SIZE;
    if (cap < used + n)
        cap = used + n;
    return buffer_resize(b, cap);
}

bool buffer_resize(struct byte_buffer *b, size_t cap)
{
    uint8_t *p = b->memory->alloc(cap);
    if (p == NULL)
        return false;
    if (b->head + b->len > 0)
        memcpy(p, b->p, b->head + b->len);
    buffer_free(b);
    b->p = p;
    b->cap = cap;
    return true;
}

void buffer_drop_front(struct byte_buffer *b, size_t n)
{
    b->head += n;
    b->len -= n;
    if (b->len == 0)
        buffer_reset(b);
}

void buffer_reset(struct byte_buffer *b)
{
    b->head = b->len = 0;
    if (b->cap > KEEP_BUFFER) {
        buffer_free(b);
        b->p = NULL;
        b->cap = 0;
    } else if (b->cap > 0) {
        explicit_bzero(b->p, b->cap); /* an ACK that was rewound may have been longer than what was sent */
    }
}

void buffer_free(struct byte_buffer *b)
{
    if (b->p != NULL)
        b->memory->free(b->p);
}
