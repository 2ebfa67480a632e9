/* Listening sockets: "host:port" and "unix@/path" addresses as the configuration writes them.
 *
 * A unix socket left behind by a dead process is replaced; one that answers, or a path that is no socket, is an error. All
 * descriptors are non-blocking and close-on-exec. */
#ifndef TOLLGATE_LISTENER_H
#define TOLLGATE_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The descriptor, or -1 with the reason in `why`. `mode` and `group` ((gid_t)-1: unchanged) are those of a unix socket. */
int listener_open(const char *address, mode_t mode, gid_t group, char *why, size_t why_size)
    __attribute__((warn_unused_result));
/* Closes and removes the socket file of a unix address. */
void listener_close(int fd, const char *address);
/* accept4 with TCP_NODELAY. -1 with errno (EAGAIN: nobody waits). */
int listener_accept(int fd);
/* Looks up a group by name. False when there is none. */
bool listener_group(const char *name, gid_t *group);

/* True for an errno of accept that says there is no room: the caller stops watching the socket for a while. */
bool listener_exhausted(int error);
/* Raises the number of open files to what the process is allowed to have. */
void listener_room(void);

#endif
