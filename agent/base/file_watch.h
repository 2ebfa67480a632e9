/* File watch: calls back when a file was changed, replaced, created or removed.
 *
 * Looks once a second at inode, size and the times in nanoseconds. libev's own ev_stat compares whole seconds, so that a key of the
 * same length written twice within a second would be lost for good. Works on every file system and through renames and symlinks. */
#ifndef TOLLGATE_BASE_FILE_WATCH_H
#define TOLLGATE_BASE_FILE_WATCH_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* What tells one state of a file from the next. */
struct file_look {
    bool there;
    dev_t dev;
    ino_t ino;
    off_t size;
    mode_t mode;
    struct timespec modified, changed;
};
struct file_look file_look_at(const char *path);
/* Neither changed nor replaced; also when it is missing in both. */
bool file_look_same(const struct file_look *a, const struct file_look *b);

struct ev_loop;
struct file_watch;

typedef void file_changed_fn(void *user);

/* Takes its first look now: what changes after this call is reported. The path is copied. The watch does not keep the loop running.
 * NULL when memory is out. */
struct file_watch *file_watch_new(struct ev_loop *loop, const char *path, file_changed_fn *changed, void *user)
    __attribute__((warn_unused_result));
/* Not from inside `changed`. NULL is allowed. */
void file_watch_free(struct file_watch *w);

#endif
