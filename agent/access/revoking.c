#include "access/revoking.h"

#include "access/access_change.h"
#include "admin/rpc.h"
#include "admin/rpc_put.h"
#include "agent.h"
#include "base/clock.h"
#include "base/file_read.h"
#include "base/file_watch.h"
#include "base/list.h"
#include "base/log.h"
#include "manage/booking.h"
#include "config/config.h"
#include "identity/revocation.h"
#include "ledger/read.h"

#include <stdio.h>
#include <stdlib.h>

enum { ENTRIES_MAX = 100000, FILE_MAX = 16 << 20, FILE_EVENTS_MAX = 256, NOTE_MAX = 512 };

/* One entry with its texts in one piece of memory. */
struct entry {
    struct revocation r;
    struct slice origin, actor, note; /* origin: operator, logout, file */
    int64_t revoked_us;
    char texts[];
};

struct entries {
    struct entry **list;
    size_t count, room;
};

struct revoking {
    struct entries ledger, file;
    char *path;
    struct file_watch *watch;
    struct agent *agent;
};

/* ---- entries ---------------------------------------------------------------------------------------------------------- */

static struct entry *entry_new(const struct revocation *r, struct slice origin, struct slice actor, struct slice note, int64_t at_us)
{
    struct entry *e = malloc(sizeof *e + r->issuer.n + r->value.n + origin.n + actor.n + note.n);

    if (e == NULL)
        return NULL;
    char *at = e->texts;
    e->r = *r;
    e->r.issuer = slice_pack(&at, r->issuer);
    e->r.value = slice_pack(&at, r->value);
    e->origin = slice_pack(&at, origin);
    e->actor = slice_pack(&at, actor);
    e->note = slice_pack(&at, note);
    e->revoked_us = at_us;
    return e;
}

/* Takes `e`; false when there is no room for it. */
static bool entries_add(struct entries *l, struct entry *e)
{
    struct entry **list = e != NULL && l->count < ENTRIES_MAX ? list_grown(l->list, l->count, &l->room, sizeof *list) : NULL;

    if (list == NULL) {
        free(e);
        return false;
    }
    l->list = list;
    l->list[l->count++] = e;
    return true;
}

static void entries_clear(struct entries *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->list[i]);
    free(l->list);
    *l = (struct entries){ 0 };
}

static bool same(const struct revocation *a, const struct revocation *b)
{
    return a->kind == b->kind && slice_eq(a->value, b->value) && slice_eq(a->issuer, b->issuer);
}

/* Removes what is the same, of one origin or (empty) of any. */
static void entries_remove(struct entries *l, const struct revocation *r, struct slice origin)
{
    size_t left = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct entry *e = l->list[i];
        if (same(&e->r, r) && (origin.n == 0 || slice_eq(e->origin, origin)))
            free(e);
        else
            l->list[left++] = e;
    }
    l->count = left;
}

static bool ended(const struct entry *e, int64_t now_s)
{
    return e->r.expires_s != 0 && e->r.expires_s <= now_s;
}

/* ---- in force --------------------------------------------------------------------------------------------------------- */

/* Under the lock. False when memory is out: what was in force stays so. */
static bool publish(struct agent *a)
{
    struct revoking *v = a->access->revoking;
    struct entries *both[] = { &v->ledger, &v->file };
    size_t n = 0;
    int64_t now_s = clock_wall_us() / 1000000;
    struct revocation *all = malloc((v->ledger.count + v->file.count + 1) * sizeof *all);

    for (size_t k = 0; all != NULL && k < 2; k++)
        for (size_t i = 0; i < both[k]->count; i++)
            if (!ended(both[k]->list[i], now_s))
                all[n++] = both[k]->list[i]->r;
    struct revocation_list *l = all != NULL ? revocation_list_new(all, n) : NULL;
    free(all);
    if (l == NULL) {
        LOG(LOG_LEVEL_ERROR, "revocations_not_in_force", LOG_CSTR("error", "out of memory"));
        return false;
    }
    snapshot_publish(&a->access->revocations, revocation_list_snapshot(l));
    return true;
}

static struct revocation revocation_of(const struct ledger_access *c, enum revocation_kind kind)
{
    return (struct revocation){ .kind = kind, .issuer = c->issuer, .value = c->value, .before_s = c->before_s,
                                .sessionless = c->sessionless, .expires_s = c->expires_s };
}

void revoking_apply(struct agent *a, const struct ledger_access *c)
{
    struct revoking *v = a->access->revoking;
    enum revocation_kind kind;

    if ((c->change != ACCESS_REVOKE && c->change != ACCESS_UNREVOKE) || !revocation_kind_from_name(c->kind, &kind))
        return;
    struct revocation r = revocation_of(c, kind);
    entries_remove(&v->ledger, &r, c->change == ACCESS_REVOKE ? c->origin : SLICE_NONE);
    if (c->change == ACCESS_REVOKE && !entries_add(&v->ledger, entry_new(&r, c->origin, c->actor, c->note, c->at_us)))
        LOG(LOG_LEVEL_ERROR, "revocations_not_in_force", LOG_CSTR("error", "out of memory"));
    publish(a);
}

/* ---- the file --------------------------------------------------------------------------------------------------------- */

static bool file_parse(struct slice text, const char *path, struct entries *out, char *why, size_t why_size)
{
    unsigned line = 0;
    const char *fault = "", *end = text.p + text.n;

    for (const char *p = text.p; p < end; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop != NULL ? (size_t)(stop - p) : (size_t)(end - p);
        struct revocation r;
        int rc = revocation_line_parse(slice_make(p, n), &r, &fault);
        p += n + 1;
        if (rc == 0)
            continue;
        if (rc > 0 && entries_add(out, entry_new(&r, SLICE_LIT("file"), slice_cstr(path), SLICE_NONE, clock_wall_us())))
            continue;
        snprintf(why, why_size, "%s:%u: %s", path, line + 1, rc < 0 ? fault : "more entries than memory, or 100000, allow");
        entries_clear(out);
        return false;
    }
    return true;
}

static bool entries_read(const char *path, struct entries *out, char *why, size_t why_size)
{
    char fault[128];
    size_t n;
    char *text = file_read(path, FILE_MAX, &n, NULL, fault, sizeof fault);
    bool ok = text != NULL && file_parse(slice_make(text, n), path, out, why, why_size);

    if (text == NULL)
        snprintf(why, why_size, "revocations.file %s: %s", path, fault);
    free(text);
    return ok;
}

static void event(struct agent *a, const char *path, const char *action, const struct revocation *r)
{
    char actor[NOTE_MAX];

    snprintf(actor, sizeof actor, "file %s", path);
    struct ledger_access c = { .change = ACCESS_EVENT, .kind = slice_cstr(revocation_kind_name(r->kind)), .value = r->value,
                               .actor = slice_cstr(actor), .action = slice_cstr(action) };
    if (!access_change_submit(a, &c, ACCESS_DONE_ON_WRITER, NULL, NULL))
        LOG(LOG_LEVEL_ERROR, "access_event_lost", LOG_STR("value", r->value));
}

static int by_entry(const void *x, const void *y)
{
    const struct revocation *a = &(*(struct entry *const *)x)->r, *b = &(*(struct entry *const *)y)->r;

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    size_t n = a->value.n < b->value.n ? a->value.n : b->value.n;
    int c = n > 0 ? memcmp(a->value.p, b->value.p, n) : 0;
    return c != 0 ? c : (a->value.n > b->value.n) - (a->value.n < b->value.n);
}

static void entries_sort(struct entries *l)
{
    if (l->count > 1)
        qsort(l->list, l->count, sizeof *l->list, by_entry);
}

/* What is in `a` and not in `b`, both sorted, becomes an event each. */
static void events(struct agent *agent, const char *path, const char *action, const struct entries *a, const struct entries *b)
{
    unsigned told = 0;

    for (size_t i = 0, k = 0; i < a->count; i++) {
        while (k < b->count && by_entry(&b->list[k], &a->list[i]) < 0)
            k++;
        if (k < b->count && by_entry(&b->list[k], &a->list[i]) == 0)
            continue;
        if (told++ == FILE_EVENTS_MAX) {
            LOG(LOG_LEVEL_WARN, "access_events_cut", LOG_CSTR("file", path), LOG_INT("told", FILE_EVENTS_MAX));
            return;
        }
        event(agent, path, action, &a->list[i]->r);
    }
}

static void file_take(struct agent *a, const char *path, struct entries *fresh)
{
    struct revoking *v = a->access->revoking;
    struct entries old;

    entries_sort(fresh);
    pthread_mutex_lock(&a->access->lock);
    old = v->file;
    v->file = *fresh;
    publish(a);
    pthread_mutex_unlock(&a->access->lock);
    LOG(LOG_LEVEL_INFO, "revocation_file", LOG_CSTR("file", path), LOG_INT("entries", fresh->count));
    events(a, path, "revoke", &v->file, &old);
    events(a, path, "unrevoke", &old, &v->file);
    entries_clear(&old);
}

static void on_file(void *user)
{
    struct revoking *v = user;
    struct entries fresh = { 0 };
    char why[512];

    if (entries_read(v->path, &fresh, why, sizeof why))
        file_take(v->agent, v->path, &fresh);
    else
        LOG(LOG_LEVEL_ERROR, "revocation_file_refused", LOG_CSTR("error", why), LOG_CSTR("effect", "its last good content stays in force"));
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static bool on_row(void *user, const struct ledger_revocation *row)
{
    struct revoking *v = user;
    enum revocation_kind kind;

    if (!revocation_kind_from_name(row->kind, &kind))
        return true;
    struct revocation r = { .kind = kind, .issuer = row->issuer, .value = row->value, .before_s = row->before_s,
                            .sessionless = row->sessionless, .expires_s = row->expires_s };
    return entries_add(&v->ledger, entry_new(&r, row->origin, row->actor, row->note, row->revoked_us));
}

static bool rows_read(struct ledger_reader *r, struct revoking *v, char *why, size_t why_size)
{
    int rc = ledger_read_revocations(r, on_row, v);
    if (rc != 0)
        snprintf(why, why_size, "cannot read the revocations: %s", ledger_reader_error(r));
    return rc == 0;
}

bool revoking_open(struct agent *a, struct ledger_reader *r, const struct config *c, char *why, size_t why_size)
{
    struct revoking *v = calloc(1, sizeof *v);

    if (v == NULL)
        return false;
    v->agent = a;
    a->access->revoking = v;
    return rows_read(r, v, why, why_size) && revoking_reload(a, c, why, why_size) && publish(a);
}

bool revoking_check(const struct config *c, char *why, size_t why_size)
{
    struct entries found = { 0 };
    bool ok = c->revocations.file == NULL || entries_read(c->revocations.file, &found, why, why_size);

    entries_clear(&found);
    return ok;
}

bool revoking_reload(struct agent *a, const struct config *c, char *why, size_t why_size)
{
    struct revoking *v = a->access->revoking;
    const char *path = c->revocations.file;
    struct entries fresh = { 0 };
    struct file_watch *watch = NULL;
    char *copy = NULL;

    if (path != NULL) {
        copy = strdup(path);
        watch = file_watch_new(a->loop, path, on_file, v); /* before reading: no change is missed */
        if (copy == NULL || watch == NULL)
            snprintf(why, why_size, "out of memory");
        if (copy == NULL || watch == NULL || !entries_read(path, &fresh, why, why_size)) {
            file_watch_free(watch);
            free(copy);
            return false;
        }
    }
    file_watch_free(v->watch);
    free(v->path);
    v->watch = watch;
    v->path = copy;
    if (path != NULL || v->file.count > 0)
        file_take(a, path != NULL ? path : "none", &fresh);
    return true;
}

void revoking_close(struct agent *a)
{
    struct revoking *v = a->access->revoking;

    if (v == NULL)
        return;
    file_watch_free(v->watch);
    entries_clear(&v->ledger);
    entries_clear(&v->file);
    free(v->path);
    free(v);
    a->access->revoking = NULL;
}

/* ---- the admin socket ------------------------------------------------------------------------------------------------- */

static void on_changed(void *user, enum ledger_result result, const struct ledger_access *change)
{
    msgpack_sbuffer answer;
    msgpack_packer pack;

    (void)change;
    msgpack_sbuffer_init(&answer);
    msgpack_packer_init(&pack, &answer, msgpack_sbuffer_write);
    msgpack_pack_true(&pack);
    rpc_resolve(user, result == LEDGER_OK      ? NULL
                      : result == LEDGER_STALE ? "there is no such revocation; tollgatectl revocations shows them"
                                               : "the ledger cannot be written, so nothing was changed; see tollgatectl status",
                &answer);
    msgpack_sbuffer_destroy(&answer);
}

/* Kind, value and issuer, checked. */
static const char *read_entry(const msgpack_object *params, char value[static REVOCATION_VALUE_MAX + 1],
                              char issuer[static REVOCATION_VALUE_MAX + 1], struct revocation *r)
{
    char kind[32];

    if (!booking_text(params, 0, kind, sizeof kind) || !revocation_kind_from_name(slice_cstr(kind), &r->kind))
        return "the kind is none of subject, token, team, key, session, certificate";
    if (!booking_text(params, 1, value, REVOCATION_VALUE_MAX + 1) || !booking_text(params, 2, issuer, REVOCATION_VALUE_MAX + 1))
        return "the value is missing or longer than 1024 bytes";
    r->value = slice_cstr(value);
    r->issuer = slice_cstr(issuer);
    return revocation_check(r);
}

const char *revoking_revoke(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    char value[REVOCATION_VALUE_MAX + 1], issuer[REVOCATION_VALUE_MAX + 1], until[32], note[NOTE_MAX];
    struct revocation r = { 0 };
    const char *why = read_entry(params, value, issuer, &r);

    (void)p;
    if (why != NULL)
        return why;
    if (!booking_text(params, 3, until, sizeof until) || !booking_text(params, 4, note, sizeof note))
        return "the end or the note is missing, or the note is longer than 511 bytes";
    r.expires_s = strtoll(until, NULL, 10);
    if (r.expires_s != 0 && r.expires_s <= clock_wall_us() / 1000000)
        return "the revocation would end before it begins";
    pthread_mutex_lock(&a->access->lock);
    bool full = a->access->revoking->ledger.count >= ENTRIES_MAX;
    pthread_mutex_unlock(&a->access->lock);
    if (full)
        return "there are 100000 revocations already; take back some that no longer matter (tollgatectl unrevoke)";
    struct ledger_access c = { .change = ACCESS_REVOKE, .kind = slice_cstr(revocation_kind_name(r.kind)), .issuer = r.issuer,
                               .value = r.value, .origin = SLICE_LIT("operator"), .note = slice_cstr(note), .expires_s = r.expires_s };
    return access_change_for_admin(a, &c, "revoke", on_changed);
}

const char *revoking_unrevoke(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct revoking *v = a->access->revoking;
    char value[REVOCATION_VALUE_MAX + 1], issuer[REVOCATION_VALUE_MAX + 1];
    struct revocation r = { 0 };
    const char *why = read_entry(params, value, issuer, &r);

    (void)p;
    if (why != NULL)
        return why;
    for (size_t i = 0; i < v->file.count; i++)
        if (same(&v->file.list[i]->r, &r))
            return "that one comes from revocations.file; take its line out there";
    struct ledger_access c = { .change = ACCESS_UNREVOKE, .kind = slice_cstr(revocation_kind_name(r.kind)), .issuer = r.issuer,
                               .value = r.value };
    return access_change_for_admin(a, &c, "unrevoke", on_changed);
}

const char *revoking_list(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    struct revoking *v = a->access->revoking;
    struct entries *both[] = { &v->ledger, &v->file };
    int64_t now_s = clock_wall_us() / 1000000;
    size_t n = 0;

    (void)params;
    pthread_mutex_lock(&a->access->lock);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < both[k]->count; i++)
            n += !ended(both[k]->list[i], now_s);
    msgpack_pack_array(p, n);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < both[k]->count; i++) {
            const struct entry *e = both[k]->list[i];
            if (ended(e, now_s))
                continue;
            msgpack_pack_map(p, 9);
            rpc_put_text(p, "kind", slice_cstr(revocation_kind_name(e->r.kind)));
            rpc_put_text(p, "value", e->r.value);
            rpc_put_text(p, "issuer", e->r.issuer);
            rpc_put_text(p, "origin", e->origin);
            rpc_put_text(p, "actor", e->actor);
            rpc_put_text(p, "note", e->note);
            rpc_put_int(p, "revoked_us", e->revoked_us);
            rpc_put_int(p, "expires_us", e->r.expires_s * 1000000);
            rpc_put_int(p, "before_us", e->r.before_s * 1000000);
        }
    pthread_mutex_unlock(&a->access->lock);
    return NULL;
}
