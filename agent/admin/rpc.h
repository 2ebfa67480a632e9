/* Admin socket: msgpack-rpc between tollgatectl and the agent.
 *
 * Requests are [0, id, method, params], answers [1, id, error, result] (msgpack-rpc specification); the streaming unpacker is the
 * framing. The server runs on one loop; a method answers at once, or later (rpc_defer). Only root and the agent's own user may talk to it (SO_PEERCRED), whatever
 * the socket's mode says. A request larger than 1 MiB, or one that is no request, ends the connection. */
#ifndef TOLLGATE_ADMIN_RPC_H
#define TOLLGATE_ADMIN_RPC_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>

struct ev_loop;
struct rpc_server;

struct rpc_method {
    const char *name;
    /* Packs exactly one object into `result` and returns NULL, or returns a reason (static, or valid until the next call) and packs
     * nothing. `params` is an array. */
    const char *(*call)(void *user, const msgpack_object *params, msgpack_packer *result);
};

/* What a method returns that will answer later, through what rpc_defer gave it. */
extern const char rpc_later[];

/* `fd` is a listening socket and stays the caller's; `methods` end with a NULL name and outlive the server. NULL: out of memory. */
struct rpc_server *rpc_server_new(struct ev_loop *loop, int fd, const struct rpc_method *methods, void *user)
    __attribute__((warn_unused_result));
/* NULL is allowed. */
void rpc_server_free(struct rpc_server *s);

struct rpc_pending; /* a question without its answer yet */

/* Who asks what, while the question is being answered. */
struct rpc_asking {
    const char *method;
    const msgpack_object *params; /* an array */
    unsigned uid;
    int pid;
};
/* `asked` is called before a method and may refuse with a static reason; `refused` after one that answered at once with a reason. */
void rpc_server_watch(struct rpc_server *s, const char *(*asked)(void *user, const struct rpc_asking *who),
                      void (*refused)(void *user, const struct rpc_asking *who, const char *reason), void *user);
/* From within a method: the user id of whoever asks. */
unsigned rpc_peer_uid(const struct rpc_server *s);
/* From within a method that then returns rpc_later. NULL: out of memory. The peer may be gone by the time of the answer. */
struct rpc_pending *rpc_defer(struct rpc_server *s) __attribute__((warn_unused_result));
/* Takes the question back: the method answers at once after all. */
void rpc_undefer(struct rpc_pending *q);
/* On the server's loop, not from within a method, also after rpc_server_free: the answer, one packed object, or a reason. */
void rpc_resolve(struct rpc_pending *q, const char *error, const msgpack_sbuffer *result);

/* The client, for commands: blocks, at most `timeout_s` seconds. The answer's zone belongs to `out`, to be freed with
 * msgpack_unpacked_destroy. False with a reason in `why`: no agent, no permission, or what the agent answered. */
bool rpc_call(const char *socket_path, const char *method, const char *const *params, size_t count, int timeout_s,
              msgpack_unpacked *out, msgpack_object *result, char *why, size_t why_size) __attribute__((warn_unused_result));

#endif
