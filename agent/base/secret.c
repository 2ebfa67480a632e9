#include "base/secret.h"

#include "base/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_FILE_MAX = 65536 };

struct secret {
    char *map; /* guard page, data pages, guard page */
    size_t map_size, n;
    char *data;
    bool locked;
};

void secret_wipe(void *p, size_t n)
{
    explicit_bzero(p, n);
}

struct secret *secret_new(const void *p, size_t n)
{
    if (n == 0)
        return NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = (n + page - 1) / page * page;
    struct secret *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->map_size = body + 2 * page;
    s->map = mmap(NULL, s->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->map == MAP_FAILED) {
        free(s);
        return NULL;
    }
    s->data = s->map + page;
    s->n = n;
    if (mprotect(s->data, body, PROT_READ | PROT_WRITE) != 0) {
        munmap(s->map, s->map_size);
        free(s);
        return NULL;
    }
    s->locked = mlock(s->data, body) == 0;
    madvise(s->map, s->map_size, MADV_DONTDUMP);
    memcpy(s->data, p, n);
    mprotect(s->data, body, PROT_READ);
    return s;
}

static int read_all(int fd, char *buf, size_t cap, size_t *n)
{
    *n = 0;
    while (*n < cap) {
        ssize_t r = read(fd, buf + *n, cap - *n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            return 0;
        *n += (size_t)r;
    }
    return 0;
}

struct secret *secret_from_file(const char *path, char *why, size_t why_size)
{
    struct secret *s = NULL;
    char *buf = NULL;
    struct stat st;
    size_t n = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        snprintf(why, why_size, "cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, why_size, "%s is not a regular file", path);
        goto out;
    }
    if ((st.st_mode & 077) != 0) {
        snprintf(why, why_size, "%s has mode %03o: others may read it; chmod 600 it", path, (unsigned)(st.st_mode & 0777));
        goto out;
    }
    buf = private_alloc(SECRET_FILE_MAX + 1);
    if (buf == NULL || read_all(fd, buf, SECRET_FILE_MAX + 1, &n) != 0) {
        snprintf(why, why_size, "cannot read %s: %s", path, strerror(errno));
        goto out;
    }
    if (n > SECRET_FILE_MAX) {
        snprintf(why, why_size, "%s is larger than %d bytes", path, SECRET_FILE_MAX);
        goto out;
    }
    if (n > 0 && buf[n - 1] == '\n')
        n--;
    if (n > 0 && buf[n - 1] == '\r')
        n--;
    if (n == 0) {
        snprintf(why, why_size, "%s is empty", path);
        goto out;
    }
    s = secret_new(buf, n);
    if (s == NULL)
        snprintf(why, why_size, "no memory for the secret in %s", path);
out:
    if (buf != NULL) {
        secret_wipe(buf, SECRET_FILE_MAX + 1);
        private_free(buf);
    }
    close(fd);
    return s;
}

void secret_free(struct secret *s)
{
    if (s == NULL)
        return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = s->map_size - 2 * page;
    if (mprotect(s->data, body, PROT_READ | PROT_WRITE) == 0)
        secret_wipe(s->data, body);
    munmap(s->map, s->map_size);
    free(s);
}

struct slice secret_view(const struct secret *s)
{
    return slice_make(s->data, s->n);
}

bool secret_locked(const struct secret *s)
{
    return s->locked;
}

bool secret_equal(const struct secret *s, struct slice other)
{
    unsigned char diff = (unsigned char)(s->n != other.n);
    for (size_t i = 0; i < s->n; i++)
        diff |= (unsigned char)(s->data[i] ^ (i < other.n ? other.p[i] : 0));
    return diff == 0;
}
