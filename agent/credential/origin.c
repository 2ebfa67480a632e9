#include "credential/origin.h"

#include "credential/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct variable {
    struct variable *next;
    struct secret *value;
    char name[];
};

struct env_pool {
    unsigned refs;
    struct variable *variables;
};

struct env_pool *env_pool_new(void)
{
    struct env_pool *p = calloc(1, sizeof *p);
    if (p != NULL)
        p->refs = 1;
    return p;
}

struct env_pool *env_pool_ref(struct env_pool *p)
{
    p->refs++;
    return p;
}

void env_pool_unref(struct env_pool *p)
{
    if (p == NULL || --p->refs > 0)
        return;
    while (p->variables != NULL) {
        struct variable *v = p->variables;
        p->variables = v->next;
        secret_free(v->value);
        free(v);
    }
    free(p);
}

static struct secret *copy(const struct secret *s, char *why, size_t why_size)
{
    struct secret *c = secret_new(secret_view(s).p, secret_view(s).n);
    if (c == NULL)
        snprintf(why, why_size, "out of memory");
    return c;
}

static struct secret *read_env(const char *name, struct env_pool *pool, char *why, size_t why_size)
{
    for (struct variable *v = pool->variables; v != NULL; v = v->next)
        if (strcmp(v->name, name) == 0)
            return copy(v->value, why, why_size);
    char *text = getenv(name);
    if (text == NULL || text[0] == '\0') {
        snprintf(why, why_size, "the environment variable %s is %s", name, text == NULL ? "not set" : "empty");
        return NULL;
    }
    struct variable *v = calloc(1, sizeof *v + strlen(name) + 1);
    struct secret *value = secret_new(text, strlen(text));
    if (v == NULL || value == NULL) {
        snprintf(why, why_size, "out of memory");
        secret_free(value);
        free(v);
        return NULL;
    }
    strcpy(v->name, name);
    v->value = value;
    v->next = pool->variables;
    pool->variables = v;
    secret_wipe(text, strlen(text)); /* unsetenv alone would only forget the pointer */
    unsetenv(name);
    return copy(value, why, why_size);
}

const char *origin_path(const struct credential_secret *o, char *buf, size_t cap)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");

    if (o->file != NULL)
        return o->file;
    if (o->systemd == NULL || dir == NULL || (size_t)snprintf(buf, cap, "%s/%s", dir, o->systemd) >= cap)
        return NULL;
    return buf;
}

/* systemd's folder is closed to others; the files' modes may show an ACL's group bits. */
static struct secret *read_systemd(const char *path, char *why, size_t why_size)
{
    char buf[65536];
    struct secret *s = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, buf, sizeof buf) : -1;

    if (n < 0)
        snprintf(why, why_size, "cannot read %s: %s", path, strerror(errno));
    else if (n > 0 && buf[n - 1] == '\n')
        n--;
    if (n == 0)
        snprintf(why, why_size, "%s is empty", path);
    if (n > 0 && (s = secret_new(buf, (size_t)n)) == NULL)
        snprintf(why, why_size, "out of memory");
    secret_wipe(buf, sizeof buf);
    if (fd >= 0)
        close(fd);
    return s;
}

struct secret *origin_read(const struct credential_secret *o, struct env_pool *pool, char *why, size_t why_size)
{
    char buf[1024];

    if (o->env != NULL)
        return read_env(o->env, pool, why, why_size);
    if (o->file != NULL)
        return secret_from_file(o->file, why, why_size);
    const char *path = origin_path(o, buf, sizeof buf);
    if (path == NULL) {
        snprintf(why, why_size, "CREDENTIALS_DIRECTORY is not set: start it from a unit with LoadCredential=");
        return NULL;
    }
    return read_systemd(path, why, why_size);
}
