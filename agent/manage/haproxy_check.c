#include "manage/haproxy_check.h"

#include "config/config.h"
#include "config/config_map.h"
#include "route/haproxy_load.h"
#include "route/haproxy_review.h"

#include <stdlib.h>
#include <string.h>

enum { NOTHING_WRONG = 0, SOMETHING_WRONG = 1, UNREADABLE = 2 };

struct check {
    const struct haproxy_plan *plan;
    struct haproxy_text text;
    FILE *out;
    const char *generated; /* file that `tollgate haproxy` wrote; NULL: none among those read */
    unsigned stale;
};

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

static void loaded(void *user, const char *file, struct slice content)
{
    struct check *k = user;

    if (memmem(content.p, content.n, "\nfrontend tg_gateway ", 21) == NULL)
        return;
    k->generated = file;
    compare(k, file, content);
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
    struct check k = { .plan = &plan, .text = { .arena = a }, .out = out };
    char why[512];
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = haproxy_load(&k.text, files[i], loaded, &k, why, sizeof why);
    if (!ok)
        fprintf(err, "tollgate: %s\n", why);
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
