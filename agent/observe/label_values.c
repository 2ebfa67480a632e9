#include "observe/label_values.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { TABLE = 256, VALUE_BYTES = 128 };

struct value {
    struct value *next; /* set before the value is published */
    size_t n;
    char p[];
};

struct label_values {
    unsigned max;
    atomic_uint count;
    pthread_mutex_t lock; /* held to add a value */
    _Atomic(struct value *) table[TABLE];
};

struct label_values *label_values_new(unsigned max)
{
    struct label_values *v = calloc(1, sizeof *v);

    if (v == NULL)
        return NULL;
    v->max = max;
    pthread_mutex_init(&v->lock, NULL);
    return v;
}

void label_values_free(struct label_values *v)
{
    if (v == NULL)
        return;
    for (unsigned i = 0; i < TABLE; i++)
        for (struct value *x = atomic_load(&v->table[i]), *next; x != NULL; x = next) {
            next = x->next;
            free(x);
        }
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* RFC 3629, section 4; controls are refused too: they would only make lines hard to read. */
static bool presentable(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0; i < s.n;) {
        unsigned char c = p[i];
        size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : SIZE_MAX;
        if (c < ' ' || c == 0x7f || more > s.n - i - 1)
            return false;
        for (size_t k = 1; k <= more; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        if ((c == 0xe0 && p[i + 1] < 0xa0) || (c == 0xed && p[i + 1] > 0x9f) || (c == 0xf0 && p[i + 1] < 0x90) ||
            (c == 0xf4 && p[i + 1] > 0x8f))
            return false;
        i += more + 1;
    }
    return true;
}

static const struct value *find(struct label_values *v, unsigned place, struct slice s)
{
    const struct value *x = atomic_load_explicit(&v->table[place], memory_order_acquire);

    while (x != NULL && !slice_eq(slice_make(x->p, x->n), s))
        x = x->next;
    return x;
}

static const struct value *add(struct label_values *v, unsigned place, struct slice s)
{
    pthread_mutex_lock(&v->lock);
    const struct value *found = find(v, place, s); /* another thread may have been first */
    if (found == NULL && atomic_load(&v->count) < v->max) {
        struct value *x = malloc(sizeof *x + s.n);
        if (x != NULL) {
            x->n = s.n;
            if (s.n > 0)
                memcpy(x->p, s.p, s.n);
            x->next = atomic_load(&v->table[place]);
            atomic_fetch_add(&v->count, 1);
            atomic_store_explicit(&v->table[place], x, memory_order_release);
        }
        found = x;
    }
    pthread_mutex_unlock(&v->lock);
    return found;
}

struct slice label_value(struct label_values *v, struct slice s)
{
    uint32_t h = 2166136261u;

    if (s.n > VALUE_BYTES)
        return SLICE_LIT("_other");
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    unsigned place = (h ^ h >> 16) % TABLE;
    const struct value *x = find(v, place, s);
    if (x == NULL && atomic_load_explicit(&v->count, memory_order_relaxed) < v->max && presentable(s))
        x = add(v, place, s);
    return x != NULL ? slice_make(x->p, x->n) : SLICE_LIT("_other");
}
