/* The system calls this process, and all it starts from then on, must do without: a seccomp filter (man 2 seccomp). */
#ifndef TOLLGATE_CREDENTIAL_SANDBOX_H
#define TOLLGATE_CREDENTIAL_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

enum sandbox_state {
    SANDBOX_ON,
    SANDBOX_UNSUPPORTED, /* the kernel has no seccomp filters */
    SANDBOX_FAILED,      /* it has, and did not take this one: do not go on */
};

/* What is refused, with EPERM (clone3 with ENOSYS, so that libc falls back on clone, whose flags a filter can read):
 * - calls by which one process reads or changes another, or the kernel, its clock, mounts, keys and swap, and io_uring;
 * - new namespaces;
 * - sockets other than UNIX, IPv4, IPv6 and netlink;
 * - all calls of another architecture than the program's.
 * Cannot be taken back. Call it before there are threads. `why` is filled in unless SANDBOX_ON. */
enum sandbox_state sandbox_enter(char *why, size_t why_size) __attribute__((warn_unused_result));

#endif
