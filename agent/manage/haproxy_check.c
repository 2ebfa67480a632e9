#include "manage/haproxy_check.h"

#include "config/config.h"
#include "config/config_map.h"
#include "route/haproxy_review.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_MAX = 4 << 20, NOTHING_WRONG = 0, SOMETHING_WRONG = 1, UNREADABLE = 2 };

struct check {
    const struct haproxy_plan *plan;
    struct haproxy_text text;
    FILE *out, *err;
    const char *generated; /* file that `tollgate haproxy` wrote; NULL: none among those read */
    unsigned stale;
};

static bool file_read(struct check *k, const char *file, struct slice *content)
{
    FILE *f = fopen(file, "rbe");
    char *text = f != NULL ? arena_alloc(k->text.arena, FILE_MAX) : NULL;

    if (text == NULL) {
        fprintf(k->err, "tollgate: cannot read %s: %s\n", file, f == NULL ? strerror(errno) : "memory is out");
        if (f != NULL)
            fclose(f);
        return false;
    }
    *content = slice_make(text, fread(text, 1, FILE_MAX, f));
    bool failed = ferror(f) != 0;
    fclose(f);
    if (failed || content->n == FILE_MAX)
        fprintf(k->err, "tollgate: cannot read %s: %s\n", file, failed ? strerror(EIO) : "it is larger than 4 MB");
    return !failed && content->n < FILE_MAX;
}

/* A file that `tollgate haproxy` wrote: is it what it would write now? */
static void compare(struct check *k, const char *file, struct slice content)
{
    char *text = NULL, why[512];
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    bool ok = f != NULL && haproxy_write_config(f, k->plan, why, sizeof why);

    if (f != NULL)
        fclose(f);
    if (ok && !slice_eq(content, slice_make(text, n))) {
        fprintf(k->out, "%s:1: conflict: it is not what tollgate's configuration gives now; write it again with `tollgate haproxy`\n", file);
        k->stale++;
    }
    free(text);
}

static bool file_add(struct check *k, const char *file)
{
    struct slice content;
    char why[512];

    if (!file_read(k, file, &content))
        return false;
    if (!haproxy_text_add(&k->text, file, content, why, sizeof why)) {
        fprintf(k->err, "%s\n", why);
        return false;
    }
    if (memmem(content.p, content.n, "\nfrontend tg_gateway ", 21) != NULL) {
        k->generated = file;
        compare(k, file, content);
    }
    return true;
}

static bool path_add(struct check *k, const char *path)
{
    struct stat st;
    char pattern[4096];
    glob_t found;
    bool ok = true;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return file_add(k, path);
    snprintf(pattern, sizeof pattern, "%s/*.cfg", path);
    int rc = glob(pattern, 0, NULL, &found);
    if (rc == GLOB_NOMATCH) {
        fprintf(k->err, "tollgate: folder %s holds no file whose name ends in .cfg\n", path);
        return false;
    }
    for (size_t i = 0; rc == 0 && ok && i < found.gl_pathc; i++)
        ok = file_add(k, arena_cstr(k->text.arena, slice_cstr(found.gl_pathv[i])));
    if (rc == 0)
        globfree(&found);
    return rc == 0 && ok;
}

static void next_step(const struct check *k, const char *config_file, const char *const *files, size_t count)
{
    if (k->generated != NULL)
        return;
    fprintf(k->out, "\nBeside these files go tollgate's own:\n  tollgate haproxy --config %s --out %s\n  haproxy", config_file, k->plan->conf_dir);
    for (size_t i = 0; i < count; i++)
        fprintf(k->out, " -f %s", files[i]);
    fprintf(k->out, " -f %s/tollgate.cfg\n", k->plan->conf_dir);
}

int haproxy_check(const struct config *c, const char *config_file, const char *const *files, size_t count, FILE *out, FILE *err)
{
    struct arena *a = arena_new(65536);
    struct haproxy_review_result found = { 0 };
    int status = UNREADABLE;

    if (a == NULL)
        abort();
    struct haproxy_plan plan = config_haproxy(c, a);
    struct check k = { .plan = &plan, .text = { .arena = a }, .out = out, .err = err };
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = path_add(&k, files[i]);
    if (ok && haproxy_review(&k.text, &plan, out, &found)) {
        next_step(&k, config_file, files, count);
        found.conflicts += k.stale;
        fprintf(out, "\n%u unsafe, %u conflict%s, %u note%s, %u line%s to add\n", found.unsafe, found.conflicts, found.conflicts == 1 ? "" : "s",
                found.notes, found.notes == 1 ? "" : "s", found.additions, found.additions == 1 ? "" : "s");
        status = found.unsafe + found.conflicts > 0 ? SOMETHING_WRONG : NOTHING_WRONG;
    }
    arena_free(a);
    return status;
}
