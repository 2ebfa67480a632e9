#include "admin/rpc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_BYTES = 65536 };

static int client_connect(const char *path, int timeout_s, char *why, size_t why_size)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = timeout_s };

    if (strlen(path) >= sizeof sa.sun_path) {
        snprintf(why, why_size, "%s is too long for a socket path", path);
        return -1;
    }
    strcpy(sa.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        snprintf(why, why_size, "cannot reach the agent at %s: %s%s", path, strerror(errno),
                 errno == ENOENT || errno == ECONNREFUSED ? " (is tollgate running? else name its socket with --socket, or its configuration with --config)" :
                 errno == EACCES ? " (only root and the agent's own user may ask it: sudo, or sudo -u tollgate)" : "");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static bool request_send(int fd, const char *method, const char *const *params, size_t count)
{
    msgpack_sbuffer out;
    msgpack_packer pack;
    size_t sent = 0;

    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&pack, &out, msgpack_sbuffer_write);
    msgpack_pack_array(&pack, 4);
    msgpack_pack_int(&pack, 0);
    msgpack_pack_int(&pack, 1);
    msgpack_pack_str_with_body(&pack, method, strlen(method));
    msgpack_pack_array(&pack, count);
    for (size_t i = 0; i < count; i++)
        msgpack_pack_str_with_body(&pack, params[i], strlen(params[i]));
    while (sent < out.size) {
        ssize_t n = send(fd, out.data + sent, out.size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    bool ok = sent == out.size;
    msgpack_sbuffer_destroy(&out);
    return ok;
}

static bool answer_read(int fd, msgpack_unpacker *u, msgpack_unpacked *out)
{
    for (;;) {
        msgpack_unpack_return rc = msgpack_unpacker_next(u, out);
        if (rc == MSGPACK_UNPACK_SUCCESS)
            return true;
        if (rc != MSGPACK_UNPACK_CONTINUE || !msgpack_unpacker_reserve_buffer(u, READ_BYTES))
            return false;
        ssize_t n = read(fd, msgpack_unpacker_buffer(u), READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        msgpack_unpacker_buffer_consumed(u, (size_t)n);
    }
}

bool rpc_call(const char *socket_path, const char *method, const char *const *params, size_t count, int timeout_s,
              msgpack_unpacked *out, msgpack_object *result, char *why, size_t why_size)
{
    msgpack_unpacker u;
    bool ok = false;

    msgpack_unpacked_init(out);
    int fd = client_connect(socket_path, timeout_s, why, why_size);
    if (fd < 0)
        return false;
    if (!msgpack_unpacker_init(&u, READ_BYTES)) {
        close(fd);
        return false;
    }
    if (!request_send(fd, method, params, count) || !answer_read(fd, &u, out)) {
        snprintf(why, why_size, "the agent gave no answer (its socket answers only root and its own user)");
        goto out;
    }
    const msgpack_object *o = &out->data;
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 4) {
        snprintf(why, why_size, "the agent's answer is not understood; are both of the same version?");
        goto out;
    }
    const msgpack_object *error = &o->via.array.ptr[2];
    ok = error->type == MSGPACK_OBJECT_NIL;
    if (!ok)
        snprintf(why, why_size, "%.*s", error->type == MSGPACK_OBJECT_STR ? (int)error->via.str.size : 7,
                 error->type == MSGPACK_OBJECT_STR ? error->via.str.ptr : "refused");
    *result = o->via.array.ptr[3];
out:
    msgpack_unpacker_destroy(&u);
    close(fd);
    return ok;
}
