#include "route/haproxy_load.h"

#include "base/file_read.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FILE_MAX = 4 << 20 };

static bool file_load(struct haproxy_text *t, const char *file, haproxy_loaded_fn *loaded, void *user, char *why, size_t why_size)
{
    char fault[128];
    size_t n;
    char *text = file_read(file, FILE_MAX, &n, NULL, fault, sizeof fault);

    if (text == NULL) {
        snprintf(why, why_size, "cannot read %s: %s", file, fault);
        return false;
    }
    const char *name = arena_cstr(t->arena, slice_cstr(file));
    bool ok = haproxy_text_add(t, name, slice_make(text, n), why, why_size);
    if (ok && loaded != NULL)
        loaded(user, name, slice_make(text, n));
    free(text);
    return ok;
}

bool haproxy_load(struct haproxy_text *t, const char *path, haproxy_loaded_fn *loaded, void *user, char *why, size_t why_size)
{
    struct stat st;
    char pattern[4096];
    glob_t found;
    bool ok = true;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return file_load(t, path, loaded, user, why, why_size);
    snprintf(pattern, sizeof pattern, "%s/*.cfg", path);
    if (glob(pattern, 0, NULL, &found) != 0) {
        snprintf(why, why_size, "folder %s holds no file whose name ends in .cfg", path);
        return false;
    }
    for (size_t i = 0; ok && i < found.gl_pathc; i++)
        ok = file_load(t, found.gl_pathv[i], loaded, user, why, why_size);
    globfree(&found);
    return ok;
}
