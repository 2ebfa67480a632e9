#include "manage/certificate_watch.h"

#include "base/file_watch.h"
#include "config/config.h"
#include "observe/certificate_file.h"
#include "observe/metrics.h"
#include "route/haproxy_certificates.h"
#include "route/haproxy_load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { EVERY = 60, FILES_MAX = 200, FOLDER_MAX = 100, ARENA_FIRST = 16384 };

/* A file as it was when it was last read. */
struct watched {
    struct watched *next;
    enum certificate_role role;
    struct file_look look;
    bool readable, seen;
    struct certificate_dates dates;
    char path[];
};

struct certificate_watch {
    struct metric *until, *from, *readable;
    struct watched *files;
    unsigned count, round; /* 0: look at once */
};

#define LABELS .labels = { "file", "role" }, .series_max = FILES_MAX, .kind = METRIC_GAUGE

static const struct metric_spec until_spec = {
    .name = "tollgate_certificate_expiry_timestamp_seconds", .unit = "seconds", LABELS,
    .help = "When a certificate file that the configuration names can be used no more, Unix time. role certificate: the first of its chain "
            "to expire; ca: the last; crl: when its next update is due." };
static const struct metric_spec from_spec = {
    .name = "tollgate_certificate_issued_timestamp_seconds", .unit = "seconds", LABELS,
    .help = "From when on it could be used, Unix time." };
static const struct metric_spec readable_spec = {
    .name = "tollgate_certificate_readable", LABELS,
    .help = "1 when the agent can read the file and what is in it; 0 also when only HAProxy may read it. role haproxy: a configuration of HAProxy, "
            "whose certificates are then watched." };

struct certificate_watch *certificate_watch_new(struct metrics *m)
{
    struct certificate_watch *w = calloc(1, sizeof *w);

    if (w != NULL && (w->until = metrics_add(m, &until_spec)) != NULL && (w->from = metrics_add(m, &from_spec)) != NULL &&
        (w->readable = metrics_add(m, &readable_spec)) != NULL)
        return w;
    free(w);
    return NULL;
}

void certificate_watch_free(struct certificate_watch *w)
{
    if (w == NULL)
        return;
    for (struct watched *f; (f = w->files) != NULL;) {
        w->files = f->next;
        free(f);
    }
    free(w);
}

static struct watched *watched_for(struct certificate_watch *w, const char *path, enum certificate_role role)
{
    for (struct watched *f = w->files; f != NULL; f = f->next)
        if (f->role == role && strcmp(f->path, path) == 0)
            return f;
    size_t n = strlen(path) + 1;
    struct watched *f = w->count < FILES_MAX ? calloc(1, sizeof *f + n) : NULL;
    if (f == NULL)
        return NULL;
    memcpy(f->path, path, n);
    f->role = role;
    f->next = w->files;
    w->files = f;
    w->count++;
    return f;
}

static void look_at(struct certificate_watch *w, const char *path, enum certificate_role role)
{
    struct watched *f = watched_for(w, path, role);
    struct file_look now = file_look_at(path);

    if (f == NULL)
        return;
    f->seen = true;
    if (!now.there)
        f->readable = false;
    else if (!f->readable || !file_look_same(&now, &f->look))
        f->readable = certificate_file_read(path, role, &f->dates);
    f->look = now;
    struct slice labels[] = { slice_cstr(path), slice_cstr(certificate_role_name(role)) };
    metric_set(metric_series(w->readable, labels), f->readable);
    if (!f->readable)
        return;
    metric_set(metric_series(w->from, labels), f->dates.from_s);
    if (f->dates.until_s >= 0)
        metric_set(metric_series(w->until, labels), f->dates.until_s);
}

/* What HAProxy keeps beside a certificate is none (HAProxy's documentation, `crt`). */
static bool beside(const char *name)
{
    static const char *const ends[] = { ".key", ".ocsp", ".issuer", ".sctl" };
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < sizeof ends / sizeof *ends; i++)
        if (strcmp(dot, ends[i]) == 0)
            return true;
    return name[0] == '.';
}

static void look(struct certificate_watch *w, const char *path, enum certificate_role role)
{
    char file[4096];
    unsigned n = 0;
    struct stat st;

    if (path == NULL)
        return;
    DIR *d = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    if (d == NULL) {
        look_at(w, path, role);
        return;
    }
    for (struct dirent *e; n < FOLDER_MAX && (e = readdir(d)) != NULL;)
        if (!beside(e->d_name) && snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file) {
            look_at(w, file, role);
            n++;
        }
    closedir(d);
}

static void credential_look(struct certificate_watch *w, const struct config_credential *k)
{
    if (k->azure != NULL) {
        look(w, k->azure->certificate, CERTIFICATE_OWN);
        look(w, k->azure->ca_file, CERTIFICATE_CA);
    }
    if (k->google != NULL)
        look(w, k->google->ca_file, CERTIFICATE_CA);
    if (k->vault != NULL)
        look(w, k->vault->ca_file, CERTIFICATE_CA);
}

static void haproxy_names(void *user, const char *path, enum haproxy_certificate what)
{
    static const enum certificate_role roles[] = { [HAPROXY_CERTIFICATE] = CERTIFICATE_OWN, [HAPROXY_CA] = CERTIFICATE_CA, [HAPROXY_CRL] = CERTIFICATE_CRL };

    look(user, path, roles[what]);
}

/* What the user's own files name; they are small, and read each time. */
static void haproxy_look(struct certificate_watch *w, const char *path)
{
    struct haproxy_text t = { .arena = arena_new(ARENA_FIRST) };
    struct slice labels[] = { slice_cstr(path), SLICE_LIT("haproxy") };
    char why[512];
    bool ok = t.arena != NULL && haproxy_load(&t, path, NULL, NULL, why, sizeof why);

    if (ok)
        haproxy_certificates(&t, haproxy_names, w);
    metric_set(metric_series(w->readable, labels), ok);
    arena_free(t.arena);
}

static void all_look(struct certificate_watch *w, const struct config *c)
{
    for (unsigned i = 0; i < c->haproxy.bind_count; i++) {
        look(w, c->haproxy.bind[i].cert, CERTIFICATE_OWN);
        look(w, c->haproxy.bind[i].client_ca, CERTIFICATE_CA);
        look(w, c->haproxy.bind[i].client_crl, CERTIFICATE_CRL);
    }
    for (unsigned i = 0; i < c->haproxy.files_count; i++)
        haproxy_look(w, c->haproxy.files[i]);
    for (unsigned i = 0; i < c->issuers_count; i++)
        look(w, c->issuers[i].ca_file, CERTIFICATE_CA);
    for (unsigned i = 0; i < c->providers_count; i++) {
        const struct config_provider *p = &c->providers[i];
        look(w, p->ca_file, CERTIFICATE_CA);
        if (p->credential != NULL)
            credential_look(w, p->credential);
        for (unsigned k = 0; k < p->credentials_count; k++)
            credential_look(w, &p->credentials[k]);
    }
    look(w, c->alerts.ca_file, CERTIFICATE_CA);
    look(w, c->traces.ca_file, CERTIFICATE_CA);
}

static void forget_unseen(struct certificate_watch *w)
{
    for (struct watched **at = &w->files; *at != NULL;) {
        struct watched *f = *at;
        if (f->seen) {
            f->seen = false;
            at = &f->next;
        } else {
            *at = f->next;
            w->count--;
            free(f);
        }
    }
}

void certificate_watch_tick(struct certificate_watch *w, const struct config *c)
{
    if (w->round++ % EVERY != 0)
        return;
    all_look(w, c);
    forget_unseen(w);
    metric_sweep(w->until);
    metric_sweep(w->from);
    metric_sweep(w->readable);
}

void certificate_watch_soon(struct certificate_watch *w)
{
    w->round = 0;
}
