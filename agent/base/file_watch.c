#include "base/file_watch.h"

#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const double LOOK_EVERY_S = 1.0;

struct file_watch {
    struct ev_loop *loop;
    ev_timer timer;
    char *path;
    struct file_look last;
    file_changed_fn *changed;
    void *user;
};

struct file_look file_look_at(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct file_look){ .there = false };
    return (struct file_look){ .there = true, .dev = st.st_dev, .ino = st.st_ino, .size = st.st_size, .mode = st.st_mode,
                          .modified = st.st_mtim, .changed = st.st_ctim };
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool file_look_same(const struct file_look *a, const struct file_look *b)
{
    return a->there == b->there && a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mode == b->mode &&
           same_time(a->modified, b->modified) && same_time(a->changed, b->changed);
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int revents)
{
    struct file_watch *w = t->data;
    struct file_look now = file_look_at(w->path);

    (void)loop;
    (void)revents;
    if (file_look_same(&now, &w->last))
        return;
    w->last = now; /* before the callback reads: a change after this look is seen by the next */
    w->changed(w->user);
}

struct file_watch *file_watch_new(struct ev_loop *loop, const char *path, file_changed_fn *changed, void *user)
{
    struct file_watch *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->path = strdup(path);
    if (w->path == NULL) {
        free(w);
        return NULL;
    }
    w->loop = loop;
    w->changed = changed;
    w->user = user;
    w->last = file_look_at(path);
    ev_timer_init(&w->timer, on_timer, LOOK_EVERY_S, LOOK_EVERY_S);
    w->timer.data = w;
    ev_timer_start(loop, &w->timer);
    ev_unref(loop);
    return w;
}

void file_watch_free(struct file_watch *w)
{
    if (w == NULL)
        return;
    ev_ref(w->loop);
    ev_timer_stop(w->loop, &w->timer);
    free(w->path);
    free(w);
}
