/* Members of an answer's map (msgpack_pack_map): a name and its value. A text that is not there is the empty one. */
#ifndef TOLLGATE_ADMIN_RPC_PUT_H
#define TOLLGATE_ADMIN_RPC_PUT_H

#include "base/slice.h"

#include <msgpack.h>
#include <stdint.h>

/* The name alone: its value is packed next. */
void rpc_put_name(msgpack_packer *p, const char *name);
void rpc_put_int(msgpack_packer *p, const char *name, int64_t v);
void rpc_put_text(msgpack_packer *p, const char *name, struct slice v);
void rpc_put_cstr(msgpack_packer *p, const char *name, const char *v);

#endif
