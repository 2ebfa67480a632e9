/* free and realloc of the whole process, libraries included: what is given back to the heap is wiped first. libjwt copies tokens, msgpack
 * the admin socket's answers, and neither lets its allocator be chosen (base/private.h is for those that do). The C library's realloc would
 * move a block and leave the old one as it was.
 *
 * Part of the program, not of a library: tests keep the C library's. Left out where a sanitizer brings its own. */
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HEAP_IS_ANOTHERS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define HEAP_IS_ANOTHERS 1
#endif

#ifndef HEAP_IS_ANOTHERS
#define EVERYWHERE __attribute__((visibility("default")))

void __libc_free(void *p); /* what free is in glibc */

EVERYWHERE void free(void *p)
{
    if (p == NULL)
        return;
    explicit_bzero(p, malloc_usable_size(p));
    __libc_free(p);
}

EVERYWHERE void *realloc(void *p, size_t n)
{
    if (p == NULL)
        return malloc(n);
    if (n == 0) {
        free(p);
        return NULL;
    }
    size_t room = malloc_usable_size(p);
    if (n <= room && n >= room / 2)
        return p;
    void *q = malloc(n);
    if (q == NULL)
        return NULL;
    memcpy(q, p, n < room ? n : room);
    free(p);
    return q;
}
#endif
