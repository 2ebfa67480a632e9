#include "listener.h"

#include "base/log.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static bool unix_address(const char *path, struct sockaddr_un *sa)
{
    *sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof sa->sun_path)
        return false;
    strcpy(sa->sun_path, path);
    return true;
}

/* True when the path is free, or was freed: a socket nobody listens on. */
static bool path_claim(const char *path, char *why, size_t why_size)
{
    struct sockaddr_un sa;
    struct stat st;

    if (lstat(path, &st) != 0)
        return true; /* bind tells what else may be wrong */
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(why, why_size, "%s exists and is no socket; choose another path", path);
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && unix_address(path, &sa) && connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
    if (fd >= 0)
        close(fd);
    if (alive) {
        snprintf(why, why_size, "%s is in use by a running process; stop it or choose another path", path);
        return false;
    }
    return unlink(path) == 0 || errno == ENOENT;
}

static int unix_open(const char *path, mode_t mode, gid_t group, char *why, size_t why_size)
{
    struct sockaddr_un sa;

    if (!unix_address(path, &sa)) {
        snprintf(why, why_size, "%s is longer than a unix socket path may be (107 bytes)", path);
        return -1;
    }
    if (!path_claim(path, why, why_size))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t before = umask(0777 & ~mode);
    int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&sa, sizeof sa);
    umask(before);
    if (rc == 0 && group != (gid_t)-1)
        rc = chown(path, (uid_t)-1, group);
    if (rc == 0)
        rc = chmod(path, mode);
    if (rc == 0)
        rc = listen(fd, BACKLOG);
    if (rc != 0) {
        snprintf(why, why_size, "cannot listen on %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static int tcp_open(const char *address, char *why, size_t why_size)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    char host[256];
    int fd = -1, one = 1;

    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof host) {
        snprintf(why, why_size, "%s is not host:port", address);
        return -1;
    }
    size_t n = (size_t)(colon - address);
    const char *start = address;
    if (n >= 2 && start[0] == '[' && start[n - 1] == ']') {
        start++;
        n -= 2;
    }
    memcpy(host, start, n);
    host[n] = '\0';
    int rc = getaddrinfo(n == 0 || strcmp(host, "*") == 0 ? NULL : host, colon + 1, &hints, &list);
    if (rc != 0) {
        snprintf(why, why_size, "cannot resolve %s: %s", address, gai_strerror(rc));
        return -1;
    }
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 || bind(fd, list->ai_addr, list->ai_addrlen) != 0 ||
        listen(fd, BACKLOG) != 0) {
        snprintf(why, why_size, "cannot listen on %s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

static const char *unix_path(const char *address)
{
    if (strncmp(address, "unix@", 5) == 0)
        return address + 5;
    return address[0] == '/' ? address : NULL;
}

int listener_open(const char *address, mode_t mode, gid_t group, char *why, size_t why_size)
{
    const char *path = unix_path(address);
    return path != NULL ? unix_open(path, mode, group, why, why_size) : tcp_open(address, why, why_size);
}

void listener_close(int fd, const char *address)
{
    const char *path = unix_path(address);
    if (path != NULL)
        unlink(path);
    close(fd);
}

bool listener_exhausted(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

void listener_room(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max)
        return;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        LOG(LOG_LEVEL_WARN, "descriptor_limit", LOG_CSTR("error", strerror(errno)));
}

int listener_accept(int fd)
{
    int one = 1;
    int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (c >= 0)
        setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on unix sockets, where nothing is delayed */
    return c;
}

bool listener_group(const char *name, gid_t *group)
{
    struct group entry, *found = NULL;
    char buffer[4096];

    if (getgrnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return false;
    *group = entry.gr_gid;
    return true;
}
