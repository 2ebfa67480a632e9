#include "credential/credential.h"

#include <sys/prctl.h>
#include <sys/resource.h>

void credential_harden_process(struct credential_hardening *out)
{
    struct rlimit core = { 0, 0 }, lock;

    *out = (struct credential_hardening){ .lock_limit = 0 };
    out->undumpable = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
    out->no_core = setrlimit(RLIMIT_CORE, &core) == 0;
    out->no_new_privs = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    if (getrlimit(RLIMIT_MEMLOCK, &lock) != 0)
        return;
    if (lock.rlim_cur != lock.rlim_max) {
        lock.rlim_cur = lock.rlim_max;
        if (setrlimit(RLIMIT_MEMLOCK, &lock) != 0)
            getrlimit(RLIMIT_MEMLOCK, &lock);
    }
    out->lock_limit = lock.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)lock.rlim_cur;
}
