/* The seccomp filter. Each test works in a child: what is taken from a process stays taken. */
#include "credential/credential.h"
#include "credential/sandbox.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAK_CHECKED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define LEAK_CHECKED 1
#endif

/* The child's verdict: 0 good, else the number of the step that was not. */
static int in_child(int (*run)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct credential_hardening h;
        char why[128];
        credential_harden_process(&h);
        enum sandbox_state state = sandbox_enter(why, sizeof why);
        if (state != SANDBOX_ON)
            _exit(state == SANDBOX_UNSUPPORTED ? 254 : 255);
        _exit(run());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Arguments are such that the kernel, asked, would answer otherwise than EPERM to root, or do no harm. */
static const struct call {
    const char *name;
    long nr, a, b, c;
} calls[] = {
#ifndef LEAK_CHECKED
    { "ptrace", SYS_ptrace, 0x4206 /* SEIZE */, -1, 0 },
#endif
    { "process_vm_readv", SYS_process_vm_readv, -1, 0, 0 },
    { "process_vm_writev", SYS_process_vm_writev, -1, 0, 0 },
    { "process_madvise", 440, -1, 0, 0 },
    { "pidfd_getfd", 438, -1, -1, 0 },
    { "kcmp", SYS_kcmp, -1, -1, 0 },
    { "kexec_load", SYS_kexec_load, 0, 17, 0 },
    { "kexec_file_load", SYS_kexec_file_load, -1, -1, 0 },
    { "init_module", SYS_init_module, 0, 0, 0 },
    { "finit_module", SYS_finit_module, -1, 0, 0 },
    { "delete_module", SYS_delete_module, 0, 0, 0 },
    { "mount", SYS_mount, 0, 0, 0 },
    { "umount2", SYS_umount2, 0, 0, 0 },
    { "pivot_root", SYS_pivot_root, 0, 0, 0 },
    { "chroot", SYS_chroot, 0, 0, 0 },
    { "open_tree", 428, -1, 0, 0 },
    { "move_mount", 429, -1, 0, -1 },
    { "fsopen", 430, 0, 0, 0 },
    { "fsconfig", 431, -1, 0, 0 },
    { "fsmount", 432, -1, 0, 0 },
    { "fspick", 433, -1, 0, 0 },
    { "mount_setattr", 442, -1, 0, 0 },
    { "bpf", SYS_bpf, -1, 0, 0 },
    { "perf_event_open", SYS_perf_event_open, 0, 0, -1 },
    { "userfaultfd", SYS_userfaultfd, -1, 0, 0 },
    { "io_uring_setup", 425, 0, 0, 0 },
    { "io_uring_enter", 426, -1, 0, 0 },
    { "io_uring_register", 427, -1, 0, 0 },
    { "keyctl", SYS_keyctl, -1, 0, 0 },
    { "add_key", SYS_add_key, 0, 0, 0 },
    { "request_key", SYS_request_key, 0, 0, 0 },
    { "swapon", SYS_swapon, 0, 0, 0 },
    { "swapoff", SYS_swapoff, 0, 0, 0 },
    { "reboot", SYS_reboot, 0, 0, 0 },
    { "acct", SYS_acct, (long)"/no/such/file", 0, 0 },
    { "quotactl", SYS_quotactl, -1, 0, 0 },
    { "quotactl_fd", 443, -1, -1, 0 },
    { "syslog", SYS_syslog, -1, 0, 0 },
    { "settimeofday", SYS_settimeofday, 0, 0, 0 },
    { "clock_settime", SYS_clock_settime, -1, 0, 0 },
    { "adjtimex", SYS_adjtimex, 0, 0, 0 },
#ifdef __x86_64__
    { "iopl", SYS_iopl, 17, 0, 0 },
    { "ioperm", SYS_ioperm, -1, -1, 0 },
    { "modify_ldt", SYS_modify_ldt, -1, 0, 0 },
#endif
    { "unshare", SYS_unshare, 0, 0, 0 },
    { "setns", SYS_setns, -1, 0, 0 },
    { "personality", SYS_personality, 0xffffffff, 0, 0 },
    { "name_to_handle_at", SYS_name_to_handle_at, -1, 0, 0 },
    { "open_by_handle_at", SYS_open_by_handle_at, -1, 0, 0 },
    { "sethostname", SYS_sethostname, 0, -1, 0 },
};
enum { CALLS = sizeof calls / sizeof *calls };

static int calls_refused(void)
{
    for (int i = 0; i < CALLS; i++) {
        errno = 0;
        if (syscall(calls[i].nr, calls[i].a, calls[i].b, calls[i].c, 0, 0, 0) != -1 || errno != EPERM)
            return i + 1;
    }
    return 0;
}

static void test_forbidden_calls(void **state)
{
    int step = in_child(calls_refused);

    (void)state;
    if (step == 254)
        skip();
    if (step > 0 && step <= CALLS)
        print_error("%s was not refused\n", calls[step - 1].name);
    assert_int_equal(step, 0);
}

static int opens(int family, int type)
{
    int fd = socket(family, type, 0);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int families_refused(void)
{
    int pair[2];

    for (int family = 0; family < 64; family++) {
        bool ours = family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
        if (!ours && (opens(family, SOCK_DGRAM) != EPERM || socketpair(family, SOCK_DGRAM, 0, pair) == 0 || errno != EPERM))
            return family + 1;
        if (ours && opens(family, family == AF_NETLINK ? SOCK_RAW : SOCK_STREAM) == EPERM)
            return family + 100;
    }
    /* The kernel looks at 32 bits of the family, a filter sees 64. */
    if (syscall(SYS_socket, (1L << 32) | AF_PACKET, SOCK_RAW, 0) != -1 || errno != EPERM)
        return 200;
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 ? 0 : 201;
}

static void test_socket_families(void **state)
{
    int step = in_child(families_refused);

    (void)state;
    if (step == 254)
        skip();
    assert_int_equal(step, 0);
}

static int namespaces_refused(void)
{
    static const long flags[] = { CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET };
    char args[88] = { 0 };

    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        errno = 0;
        long pid = syscall(SYS_clone, flags[i] | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            _exit(0);
        if (pid > 0 || errno != EPERM)
            return (int)i + 1;
    }
    return syscall(SYS_clone3, args, sizeof args) == -1 && errno == ENOSYS ? 0 : 20;
}

static void test_namespaces(void **state)
{
    int step = in_child(namespaces_refused);

    (void)state;
    if (step == 254)
        skip();
    assert_int_equal(step, 0);
}

/* Programs it starts are bound too, and are otherwise as before. */
static int programs_run(void)
{
    return system("test \"$(echo still | tr a-z A-Z)\" = STILL && grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status && "
                  "grep -q '^Seccomp:[[:space:]]*2$' /proc/self/status && ! unshare -U true 2>/dev/null") == 0
               ? 0
               : 1;
}

static void test_programs(void **state)
{
    int step = in_child(programs_run);

    (void)state;
    if (step == 254)
        skip();
    assert_int_equal(step, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden_calls), cmocka_unit_test(test_socket_families), cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
