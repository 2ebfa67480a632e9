/* Preloaded into the agent by the tests of clock jumps: CLOCK_REALTIME plus the seconds that the file named by CLOCK_SHIFT_FILE holds as
 * eight bytes (an int64), read again at every call through a shared mapping. The monotonic clock stays what it is. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *shift;

__attribute__((constructor)) static void start(void)
{
    const char *file = getenv("CLOCK_SHIFT_FILE");
    int fd = file != NULL ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (p == MAP_FAILED)
        abort();
    shift = p;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    long rc = syscall(SYS_clock_gettime, id, t);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && shift != NULL)
        t->tv_sec += *shift;
    return (int)rc;
}

int gettimeofday(struct timeval *restrict v, void *restrict zone)
{
    struct timespec t;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &t) != 0)
        return -1;
    *v = (struct timeval){ .tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000 };
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    if (out != NULL)
        *out = t.tv_sec;
    return t.tv_sec;
}

/* What the kernel says of its clock: kept right, unless CLOCK_UNSYNCHRONIZED is set. */
int adjtimex(struct timex *t)
{
    bool lost = getenv("CLOCK_UNSYNCHRONIZED") != NULL;

    *t = (struct timex){ .status = lost ? STA_UNSYNC : STA_PLL, .esterror = 1000 };
    return lost ? TIME_ERROR : TIME_OK;
}
