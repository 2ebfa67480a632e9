#include "credential/sandbox.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define LEAK_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAK_CHECKED 1
#endif
#endif

/* A name the C library or the architecture does not have is passed over: such a call does not exist there. */
static const char *const forbidden[] = {
#ifndef LEAK_CHECKED /* LeakSanitizer stops the threads it looks through by ptrace */
    "ptrace",
#endif
    "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module",
    "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr", "fsopen", "fsconfig", "fsmount", "fspick",
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "keyctl", "add_key", "request_key",
    "swapon", "swapoff", "reboot", "acct", "quotactl", "quotactl_fd", "nfsservctl", "syslog", "vhangup", "uselib", "lookup_dcookie",
    "settimeofday", "clock_settime", "clock_settime64", "adjtimex", "stime",
    "iopl", "ioperm", "modify_ldt", "unshare", "setns", "personality",
    "name_to_handle_at", "open_by_handle_at", "sethostname", "setdomainname",
};

static const uint64_t namespaces[] = {
    CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET,
};

static bool deny(scmp_filter_ctx f, uint32_t action, const char *name, unsigned count, const struct scmp_arg_cmp *arg)
{
    int nr = seccomp_syscall_resolve_name(name);

    return nr == __NR_SCMP_ERROR || seccomp_rule_add_array(f, action, nr, count, arg) == 0;
}

/* A number of more than 32 bits is above AF_NETLINK too, so nothing hides in the half the kernel ignores. */
static bool deny_families(scmp_filter_ctx f, const char *name)
{
    struct scmp_arg_cmp beyond = SCMP_A0_64(SCMP_CMP_GT, AF_NETLINK, 0);

    for (uint64_t family = 0; family < AF_NETLINK; family++) {
        struct scmp_arg_cmp is = SCMP_A0_64(SCMP_CMP_EQ, family, 0);
        if (family != AF_UNIX && family != AF_INET && family != AF_INET6 && !deny(f, SCMP_ACT_ERRNO(EPERM), name, 1, &is))
            return false;
    }
    return deny(f, SCMP_ACT_ERRNO(EPERM), name, 1, &beyond);
}

static bool deny_namespaces(scmp_filter_ctx f)
{
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
#ifdef __s390x__ /* there the stack is the first argument */
        struct scmp_arg_cmp has = SCMP_A1_64(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]);
#else
        struct scmp_arg_cmp has = SCMP_A0_64(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]);
#endif
        if (!deny(f, SCMP_ACT_ERRNO(EPERM), "clone", 1, &has))
            return false;
    }
    return deny(f, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
}

static bool rules_add(scmp_filter_ctx f)
{
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        if (!deny(f, SCMP_ACT_ERRNO(EPERM), forbidden[i], 0, NULL))
            return false;
    return deny_families(f, "socket") && deny_families(f, "socketpair") && deny_namespaces(f);
}

static bool supported(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;

    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 || (errno != ENOSYS && errno != EINVAL);
}

enum sandbox_state sandbox_enter(char *why, size_t why_size)
{
    if (!supported()) {
        snprintf(why, why_size, "the kernel has no seccomp filters");
        return SANDBOX_UNSUPPORTED;
    }
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    if (f == NULL || seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM)) != 0 || !rules_add(f)) {
        seccomp_release(f);
        snprintf(why, why_size, "libseccomp could not build the filter");
        return SANDBOX_FAILED;
    }
    int error = seccomp_load(f);
    seccomp_release(f);
    if (error == 0)
        return SANDBOX_ON;
    snprintf(why, why_size, "the kernel refused the filter: %s", strerror(-error));
    return SANDBOX_FAILED;
}
