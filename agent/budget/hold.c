/* Holds: numbered slots in chunks that never move. A number carries a generation, so that one used twice is noticed. */
#include "budget/internal.h"

#include <stdlib.h>

static int add_chunk(struct budget *b)
{
    if (b->chunk_count >= UINT32_MAX / HOLDS_PER_CHUNK - 1)
        return -1;
    struct hold **chunks = realloc(b->chunks, (b->chunk_count + 1) * sizeof *chunks);
    if (!chunks)
        return -1;
    b->chunks = chunks;
    struct hold *chunk = calloc(HOLDS_PER_CHUNK, sizeof *chunk);
    if (!chunk)
        return -1;
    chunks[b->chunk_count] = chunk;
    for (uint32_t i = HOLDS_PER_CHUNK; i-- > 0;) {
        chunk[i].index = (uint32_t)b->chunk_count * HOLDS_PER_CHUNK + i;
        chunk[i].generation = 1;
        chunk[i].entries = chunk[i].few;
        chunk[i].capacity = ENTRIES_INLINE;
        chunk[i].next_free = b->free_hold;
        b->free_hold = chunk[i].index + 1;
    }
    b->chunk_count++;
    return 0;
}

static struct hold *hold_at(const struct budget *b, uint32_t index)
{
    return &b->chunks[index / HOLDS_PER_CHUNK][index % HOLDS_PER_CHUNK];
}

static int copy_values(struct hold *h, const struct values *v)
{
    size_t total = 0;
    for (int i = 0; i < VALUE_COUNT; i++) {
        if (v->v[i].n > UINT32_MAX)
            return -1;
        total += v->v[i].n;
    }
    if (total > h->text_capacity) {
        size_t capacity = total < 192 ? 192 : total;
        char *text = realloc(h->text, capacity);
        if (!text)
            return -1;
        h->text = text;
        h->text_capacity = capacity;
    }
    char *p = h->text;
    for (int i = 0; i < VALUE_COUNT; i++) {
        h->lengths[i] = (uint32_t)v->v[i].n;
        if (v->v[i].n)
            memcpy(p, v->v[i].p, v->v[i].n);
        p += v->v[i].n;
    }
    h->legs = v->legs;
    return 0;
}

struct hold *hold_new(struct budget *b, const struct values *v)
{
    if (!b->free_hold && add_chunk(b) != 0)
        return NULL;
    struct hold *h = hold_at(b, b->free_hold - 1);
    if (copy_values(h, v) != 0)
        return NULL;
    b->free_hold = h->next_free;
    h->open = true;
    h->count = 0;
    b->stats.holds++;
    return h;
}

int hold_reserve_entries(struct hold *h, unsigned count)
{
    if (count <= h->capacity)
        return 0;
    struct entry *e = malloc(count * sizeof *e);
    if (!e)
        return -1;
    memcpy(e, h->entries, h->count * sizeof *e);
    if (h->entries != h->few)
        free(h->entries);
    h->entries = e;
    h->capacity = count;
    return 0;
}

void hold_free(struct budget *b, struct hold *h)
{
    h->open = false;
    h->count = 0;
    if (++h->generation == 0)
        h->generation = 1;
    h->next_free = b->free_hold;
    b->free_hold = h->index + 1;
    b->stats.holds--;
}

struct hold *hold_find(struct budget *b, struct budget_hold id)
{
    uint64_t index = (id.id & UINT32_MAX) - 1;
    if (id.id == 0 || index >= (uint64_t)b->chunk_count * HOLDS_PER_CHUNK)
        return NULL;
    struct hold *h = hold_at(b, (uint32_t)index);
    return h->open && h->generation == id.id >> 32 ? h : NULL;
}

struct budget_hold hold_id(const struct hold *h)
{
    return (struct budget_hold){ (uint64_t)h->generation << 32 | (h->index + 1) };
}

void hold_values(const struct hold *h, struct values *v)
{
    const char *p = h->text;
    memset(v, 0, sizeof *v);
    for (int i = 0; i < VALUE_COUNT; i++) {
        v->v[i] = slice_make(p, h->lengths[i]);
        p = h->lengths[i] ? p + h->lengths[i] : p;
    }
    v->legs = h->legs;
}

void holds_free(struct budget *b)
{
    for (size_t i = 0; i < b->chunk_count; i++) {
        for (int j = 0; j < HOLDS_PER_CHUNK; j++) {
            struct hold *h = &b->chunks[i][j];
            if (h->entries != h->few)
                free(h->entries);
            free(h->text);
        }
        free(b->chunks[i]);
    }
    free(b->chunks);
}
