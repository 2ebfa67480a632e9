#include "credential/source.h"
#include "base/private.h"
#include "credential/token_reply.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REFRESH_S = 3600, TIMEOUT_S = 10, OUTPUT_MAX = 64 * 1024 };

/* A command ends when its process has ended: what it printed is then in the pipe. Descendants that keep the pipe open do not keep us. */
struct command {
    struct key_source base;
    const struct credential_command *o;
    pid_t pid;                /* 0: none runs */
    int fd;                   /* its output; -1: none */
    ev_io io;
    ev_child child;
    ev_timer deadline;
    char *out;                /* OUTPUT_MAX + 1 bytes */
    size_t n;
    bool timed_out;
};

static void output_close(struct command *c)
{
    if (c->fd < 0)
        return;
    ev_io_stop(c->base.loop, &c->io);
    close(c->fd);
    c->fd = -1;
}

static void output_drop(struct command *c)
{
    output_close(c);
    if (c->out != NULL)
        secret_wipe(c->out, OUTPUT_MAX + 1);
    private_free(c->out);
    c->out = NULL;
    c->n = 0;
}

/* All that is there. False when it is more than is taken. */
static bool output_read(struct command *c)
{
    while (c->fd >= 0 && c->n <= OUTPUT_MAX) {
        ssize_t n = read(c->fd, c->out + c->n, OUTPUT_MAX + 1 - c->n);
        if (n > 0) {
            c->n += (size_t)n;
        } else if (n == 0) {
            output_close(c);
        } else if (errno != EINTR) {
            break;
        }
    }
    return c->n <= OUTPUT_MAX;
}

static void on_output(struct ev_loop *loop, ev_io *io, int events)
{
    struct command *c = io->data;

    (void)loop, (void)events;
    if (!output_read(c)) {
        output_close(c);
        kill(-c->pid, SIGKILL);
    }
}

static void on_deadline(struct ev_loop *loop, ev_timer *t, int events)
{
    struct command *c = t->data;

    (void)loop, (void)events;
    c->timed_out = true;
    kill(-c->pid, SIGKILL);
}

static void take_json(struct command *c, struct slice text)
{
    struct token_reply t;
    const char *why = "out of memory";
    struct arena *a = arena_new(4096);
    bool ok = a != NULL && token_reply_parse(text, a, &t, &why) == 0;

    if (ok && t.token.raw.n > 0) {
        char *token = private_alloc(t.token.raw.n);
        size_t n = token != NULL ? json_unescape(t.token.raw, token) : 0;
        key_source_done(&c->base, slice_make(token, n), t.expires_in_s);
        if (token != NULL)
            secret_wipe(token, t.token.raw.n);
        private_free(token);
    } else if (ok) {
        key_source_done(&c->base, text, -1); /* AWS keys as credential_process prints them */
    } else {
        key_source_fail(&c->base, "%s printed JSON that cannot be used: %s", c->o->argv[0], why);
    }
    arena_free(a);
}

static void take_output(struct command *c)
{
    struct slice text = slice_make(c->out, c->n);

    while (text.n > 0 && isspace((unsigned char)text.p[text.n - 1]))
        text.n--;
    if (text.n > 0 && text.p[0] == '{')
        take_json(c, text);
    else
        key_source_done(&c->base, text, -1);
}

static void on_exit_of(struct ev_loop *loop, ev_child *w, int events)
{
    struct command *c = w->data;
    int status = w->rstatus;

    (void)events;
    ev_child_stop(loop, w);
    ev_timer_stop(loop, &c->deadline);
    kill(-c->pid, SIGKILL); /* descendants it left behind */
    c->pid = 0;
    bool fits = output_read(c);
    if (c->timed_out)
        key_source_fail(&c->base, "%s did not end within %lld s", c->o->argv[0], (long long)(c->o->timeout_s > 0 ? c->o->timeout_s : TIMEOUT_S));
    else if (!fits)
        key_source_fail(&c->base, "%s printed more than %d bytes", c->o->argv[0], OUTPUT_MAX);
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        key_source_fail(&c->base, "%s ended with %s %d", c->o->argv[0], WIFEXITED(status) ? "status" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    else
        take_output(c);
    output_drop(c);
}

/* No shell, no environment of ours, no file of ours, signals as a fresh process has them, a process group of its own. */
static int spawn(struct command *c, int out)
{
    static char *const environment[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char **argv = calloc(c->o->argc + 1, sizeof *argv);
    int rc = argv == NULL ? ENOMEM : 0;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    for (size_t i = 0; argv != NULL && i < c->o->argc; i++)
        argv[i] = (char *)(uintptr_t)c->o->argv[i];
    if (rc == 0 && (posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0) != 0 ||
                    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO) != 0 ||
                    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
                    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1) != 0 ||
                    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) != 0 ||
                    posix_spawnattr_setsigmask(&attributes, &none) != 0 || posix_spawnattr_setsigdefault(&attributes, &all) != 0))
        rc = ENOMEM;
    if (rc == 0)
        rc = posix_spawn(&c->pid, c->o->argv[0], &files, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    free(argv);
    if (rc != 0)
        c->pid = 0;
    return rc;
}

static void fetch(struct key_source *s)
{
    struct command *c = (struct command *)s;
    int pipe_fds[2] = { -1, -1 }, rc = 0;

    c->out = private_alloc(OUTPUT_MAX + 1);
    c->n = 0;
    c->timed_out = false;
    if (c->out == NULL || pipe2(pipe_fds, O_CLOEXEC) != 0 || fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK) != 0)
        rc = c->out == NULL ? ENOMEM : errno;
    c->fd = pipe_fds[0];
    if (rc == 0)
        rc = spawn(c, pipe_fds[1]);
    if (pipe_fds[1] >= 0)
        close(pipe_fds[1]);
    if (rc != 0) {
        if (c->fd >= 0)
            close(c->fd);
        c->fd = -1;
        output_drop(c);
        key_source_fail(s, "%s could not be started: %s", c->o->argv[0], strerror(rc));
        return;
    }
    ev_io_set(&c->io, c->fd, EV_READ);
    ev_io_start(s->loop, &c->io);
    ev_child_set(&c->child, c->pid, 0);
    ev_child_start(s->loop, &c->child);
    ev_now_update(s->loop);
    ev_timer_set(&c->deadline, (double)(c->o->timeout_s > 0 ? c->o->timeout_s : TIMEOUT_S), 0.);
    ev_timer_start(s->loop, &c->deadline);
}

static void cancel(struct key_source *s)
{
    struct command *c = (struct command *)s;

    ev_child_stop(s->loop, &c->child);
    ev_timer_stop(s->loop, &c->deadline);
    output_drop(c);
    if (c->pid != 0)
        kill(-c->pid, SIGKILL); /* the loop's SIGCHLD handler reaps it */
    c->pid = 0;
}

static void command_free(struct key_source *s)
{
    free(s);
}

static const struct key_source_ops ops = { .retries = true, .fetch = fetch, .cancel = cancel, .free = command_free };

struct key_source *key_source_command_new(const struct credential_command *o)
{
    struct command *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->base.ops = &ops;
    c->base.refresh_s = o->refresh_s > 0 ? o->refresh_s : REFRESH_S;
    c->o = o;
    c->fd = -1;
    ev_io_init(&c->io, on_output, -1, EV_READ);
    ev_child_init(&c->child, on_exit_of, 0, 0);
    ev_timer_init(&c->deadline, on_deadline, 0., 0.);
    c->io.data = c->child.data = c->deadline.data = c;
    return &c->base;
}
