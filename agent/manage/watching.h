/* `tollgatectl top`: the last minute in all and by one dimension, open holds, breakers, the limits nearest to their end. Control thread. */
#ifndef TOLLGATE_WATCHING_H
#define TOLLGATE_WATCHING_H

#include <msgpack.h>

/* One parameter: team (default), model, target, user. */
const char *watching_top(void *user, const msgpack_object *params, msgpack_packer *p);

#endif
