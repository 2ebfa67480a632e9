#include "base/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void too_large(size_t max, char *why, size_t why_size)
{
    if (max % (1024 * 1024) == 0)
        snprintf(why, why_size, "larger than %zu MiB", max / (1024 * 1024));
    else if (max % 1024 == 0)
        snprintf(why, why_size, "larger than %zu KiB", max / 1024);
    else
        snprintf(why, why_size, "larger than %zu bytes", max);
}

/* To the end, which may be another than it was; false: errno, or 0 when there is more than `room`. */
static bool read_all(int fd, char *to, size_t room, size_t *n)
{
    ssize_t got = 1;

    for (*n = 0; *n <= room && got > 0;) {
        got = read(fd, to + *n, room + 1 - *n);
        if (got > 0)
            *n += (size_t)got;
        else if (got < 0 && errno == EINTR)
            got = 1;
    }
    if (got >= 0)
        errno = 0;
    return got >= 0 && *n <= room;
}

char *file_read(const char *path, size_t max, size_t *n, struct stat *st, char *why, size_t why_size)
{
    struct stat own;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    *n = 0;
    if (st == NULL)
        st = &own;
    if (fd < 0 || fstat(fd, st) != 0) {
        snprintf(why, why_size, "%s", strerror(errno));
    } else if (!S_ISREG(st->st_mode)) {
        snprintf(why, why_size, "not a regular file");
    } else if ((size_t)st->st_size > max) {
        too_large(max, why, why_size);
    } else if ((text = malloc((size_t)st->st_size + 2)) == NULL) {
        snprintf(why, why_size, "memory is out");
    } else if (!read_all(fd, text, (size_t)st->st_size, n)) {
        snprintf(why, why_size, "%s", errno != 0 ? strerror(errno) : "written to while it was read");
        explicit_bzero(text, (size_t)st->st_size + 1);
        free(text);
        text = NULL;
    } else {
        text[*n] = '\0';
    }
    if (fd >= 0)
        close(fd);
    return text;
}
