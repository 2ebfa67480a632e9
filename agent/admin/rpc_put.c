#include "admin/rpc_put.h"

#include <string.h>

void rpc_put_name(msgpack_packer *p, const char *name)
{
    msgpack_pack_str_with_body(p, name, strlen(name));
}

void rpc_put_int(msgpack_packer *p, const char *name, int64_t v)
{
    rpc_put_name(p, name);
    msgpack_pack_int64(p, v);
}

void rpc_put_text(msgpack_packer *p, const char *name, struct slice v)
{
    rpc_put_name(p, name);
    msgpack_pack_str_with_body(p, v.n > 0 ? v.p : "", v.n);
}

void rpc_put_cstr(msgpack_packer *p, const char *name, const char *v)
{
    rpc_put_text(p, name, slice_cstr(v));
}
