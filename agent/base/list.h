/* Lists that grow: malloced elements behind one another, `room` of them at most until the next growth. */
#ifndef TOLLGATE_BASE_LIST_H
#define TOLLGATE_BASE_LIST_H

#include <stddef.h>
#include <stdlib.h>

/* Room for one more element behind `count`: the list, perhaps moved. NULL: no memory, and the list is what it was. */
static inline void *list_grown(void *list, size_t count, size_t *room, size_t size)
{
    size_t wanted = *room > 0 ? 2 * *room : 16;

    if (count < *room)
        return list;
    void *more = realloc(list, wanted * size);
    if (more != NULL)
        *room = wanted;
    return more;
}

#endif
