/* What the running agent says of itself and of HAProxy, its issuers and its keys. */
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_doctor.h"
#include "config/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const int64_t check_late_us = 15 * INT64_C(1000000);   /* HAProxy's health check comes every second */
static const int64_t commit_slow_us = INT64_C(1000000);
enum { QUEUE_LONG = 10000 };

static void haproxy_connected(struct doctor *d)
{
    const msgpack_object *h = ctl_member(&d->status, "haproxy");
    char fix[600], dir[400];

    if (h == NULL)
        return;
    snprintf(dir, sizeof dir, "%s", d->config != NULL ? d->config->haproxy.conf_dir : "/etc/haproxy/tollgate");
    snprintf(fix, sizeof fix, "start HAProxy with -f %s/tollgate.cfg; it must reach listen.spop, and may if listen.socket_group is its group", dir);
    int64_t age = d->now_us - ctl_number(h, "spop_heard_us");
    if (ctl_number(h, "spop_heard_us") == 0)
        doctor_say(d, DOCTOR_FAILURE, "spoe", "", fix, "HAProxy has not connected since the agent started");
    else if (age > check_late_us)
        doctor_say(d, DOCTOR_FAILURE, "spoe", "", fix, "HAProxy has not connected for %" PRId64 " s; its health check comes every second", age / 1000000);
    else
        doctor_say(d, DOCTOR_OK, "spoe", "", NULL, "HAProxy is connected");
    if (ctl_number(h, "ring_connections") == 0)
        doctor_say(d, DOCTOR_FAILURE, "ring", "", "start HAProxy with the generated files; its ring tg_ring must reach listen.ring",
                   "HAProxy's log is not connected: what the tap does not see is settled at its bound");
    else if (ctl_number(h, "ring_heard_us") + 60000000 < ctl_number(h, "tap_heard_us"))
        doctor_say(d, DOCTOR_WARNING, "ring", "", "write HAProxy's files again: tollgate haproxy, then reload HAProxy", "records come, but no log lines");
    else
        doctor_say(d, DOCTOR_OK, "ring", "", NULL, "HAProxy's log is connected");
}

static void ledger_lag(struct doctor *d)
{
    const msgpack_object *l = ctl_member(&d->status, "ledger");

    if (l == NULL)
        return;
    if (!slice_eq_cstr(ctl_text(l, "state"), "ok"))
        doctor_say(d, DOCTOR_FAILURE, "ledger-lag", "", "make room on its disk, or mend what the error says; the agent goes on by itself", "the ledger cannot be written, requests are refused: %.*s",
                   SLICE_FMT(ctl_text(l, "last_error")));
    else if (ctl_number(l, "queued") > QUEUE_LONG || ctl_number(l, "last_commit_us") > commit_slow_us)
        doctor_say(d, DOCTOR_WARNING, "ledger-lag", "", "put the ledger on a faster disk, without other writers", "%" PRId64 " rows wait, the last commit took %" PRId64 " ms",
                   ctl_number(l, "queued"), ctl_number(l, "last_commit_us") / 1000);
    else
        doctor_say(d, DOCTOR_OK, "ledger-lag", "", NULL, "%" PRId64 " rows wait, the last commit took %" PRId64 " us", ctl_number(l, "queued"), ctl_number(l, "last_commit_us"));
}

static void issuers(struct doctor *d)
{
    const msgpack_object *list = ctl_member(&d->status, "issuers");
    char name[300];

    for (uint32_t i = 0; list != NULL && list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++) {
        const msgpack_object *s = &list->via.array.ptr[i];
        int64_t age = d->now_us - ctl_number(s, "fetched_us");
        snprintf(name, sizeof name, "%.*s", SLICE_FMT(ctl_text(s, "issuer")));
        if (!slice_eq_cstr(ctl_text(s, "state"), "ok"))
            doctor_say(d, DOCTOR_FAILURE, "issuer-keys", name, "see check issuer, and the agent's log (jwks)", "the agent has no usable keys: nobody of this issuer is let in");
        else if (ctl_number(s, "failures") > 0)
            doctor_say(d, DOCTOR_WARNING, "issuer-keys", name, "see check issuer, and the agent's log (jwks)", "its keys are %" PRId64 " minutes old, %" PRId64 " fetches failed since",
                       age / 60000000, ctl_number(s, "failures"));
        else
            doctor_say(d, DOCTOR_OK, "issuer-keys", name, NULL, "%" PRId64 " keys, %" PRId64 " minutes old", ctl_number(s, "keys"), age / 60000000);
    }
}

static void keys(struct doctor *d)
{
    const msgpack_object *list = ctl_member(&d->status, "credentials");
    char name[300];

    for (uint32_t i = 0; list != NULL && list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++) {
        const msgpack_object *k = &list->via.array.ptr[i];
        snprintf(name, sizeof name, "%.*s", SLICE_FMT(ctl_text(k, "credential")));
        if (slice_eq_cstr(ctl_text(k, "state"), "no valid value"))
            doctor_say(d, DOCTOR_FAILURE, "credential", name, "mend its source; the agent's log says why it cannot be had (credential)", "key %" PRId64 " has no valid value: %.*s",
                       ctl_number(k, "key"), SLICE_FMT(ctl_text(k, "error")));
        else if (slice_eq_cstr(ctl_text(k, "state"), "set aside"))
            doctor_say(d, DOCTOR_WARNING, "credential", name, "give it another key, or wait until the provider takes this one again", "key %" PRId64 " is set aside: the provider refused or throttled it",
                       ctl_number(k, "key"));
        else
            doctor_say(d, DOCTOR_OK, "credential", name, NULL, "key %" PRId64 " is valid", ctl_number(k, "key"));
    }
}

void doctor_agent(struct doctor *d)
{
    if (!d->agent)
        return;
    haproxy_connected(d);
    ledger_lag(d);
    issuers(d);
    keys(d);
}
