#include "base/arena.h"

#include "base/private.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_BYTES = 256,
    MOST_BYTES = 1 << 20 /* of a usual block, header included */
};

/* Sizes are powers of two, header included: those are what private memory keeps at hand. */
struct block {
    struct block *next;
    size_t size, used; /* of `data` */
    alignas(max_align_t) char data[];
};

struct arena {
    struct block *head; /* the block being filled */
    struct block *spare; /* kept from earlier requests */
    size_t used;
};

static struct block *block_new(size_t bytes)
{
    struct block *b = private_alloc(bytes);
    if (b == NULL)
        return NULL;
    b->next = NULL;
    b->size = bytes - sizeof *b;
    b->used = 0;
    return b;
}

struct arena *arena_new(size_t first)
{
    struct arena *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->head = block_new(first < LEAST_BYTES ? LEAST_BYTES : first);
    if (a->head == NULL) {
        free(a);
        return NULL;
    }
    return a;
}

static void block_free(struct block *b)
{
    private_free_used(b, sizeof *b + b->used);
}

static void blocks_free(struct block *b)
{
    while (b != NULL) {
        struct block *next = b->next;
        block_free(b);
        b = next;
    }
}

void arena_free(struct arena *a)
{
    if (a == NULL)
        return;
    blocks_free(a->head);
    blocks_free(a->spare);
    free(a);
}

void arena_reset(struct arena *a, size_t keep)
{
    struct block *all = a->head, *b, *next;

    while (a->spare != NULL) {
        b = a->spare;
        a->spare = b->next;
        b->next = all;
        all = b;
    }
    a->head = NULL;
    a->used = 0;
    size_t kept = 0;
    for (b = all; b != NULL; b = next) {
        next = b->next;
        /* The very last block stays whatever `keep` says: an arena always has one. */
        if ((next == NULL && a->head == NULL) || kept + b->size <= keep) {
            kept += b->size;
            explicit_bzero(b->data, b->used);
            b->used = 0;
            if (a->head == NULL) {
                b->next = NULL;
                a->head = b;
            } else {
                b->next = a->spare;
                a->spare = b;
            }
        } else {
            block_free(b);
        }
    }
}

static struct block *block_for(struct arena *a, size_t n)
{
    struct block **pp;

    for (pp = &a->spare; *pp != NULL; pp = &(*pp)->next) {
        struct block *b = *pp;
        if (b->size >= n) {
            *pp = b->next;
            return b;
        }
    }
    size_t bytes = (sizeof(struct block) + a->head->size) * 2, need = sizeof(struct block) + n;
    if (bytes > MOST_BYTES)
        bytes = MOST_BYTES;
    return block_new(bytes < need ? need : bytes);
}

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t al = alignof(max_align_t);
    struct block *b = a->head;

    if (n > SIZE_MAX / 2)
        return NULL;
    n = n == 0 ? al : (n + al - 1) / al * al;
    if (n > b->size - b->used) {
        struct block *fresh = block_for(a, n);
        if (fresh == NULL)
            return NULL;
        fresh->next = b;
        a->head = b = fresh;
    }
    void *p = b->data + b->used;
    b->used += n;
    a->used += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    if (p != NULL)
        memset(p, 0, n);
    return p;
}

char *arena_cstr(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (p == NULL)
        return NULL;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    char *p = arena_cstr(a, s);
    return p == NULL ? SLICE_NONE : slice_make(p, s.n);
}

struct slice arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char probe[256];

    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(probe, sizeof probe, fmt, ap);
    va_end(ap);
    struct slice out = SLICE_NONE;
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p != NULL) {
        if ((size_t)n < sizeof probe)
            memcpy(p, probe, (size_t)n + 1);
        else
            vsnprintf(p, (size_t)n + 1, fmt, again);
        out = slice_make(p, (size_t)n);
    }
    va_end(again);
    return out;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
