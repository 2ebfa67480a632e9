#include "manage/keys_view.h"

#include "admin/rpc_put.h"
#include "agent.h"
#include "base/clock.h"
#include "observe/metrics.h"
#include "runtime.h"

#include <stdio.h>
#include <string.h>

enum { VALID, ASIDE, EXPIRES, REFUSED, FETCHES, FAILURES };

#define SPEC(n, h, k) { .name = "tollgate_credential_" n, .help = h, .kind = k, .labels = { "credential", "key" } }

static const struct metric_spec specs[KEYS_METRICS] = {
    [VALID] = SPEC("valid", "1 when a provider key has a valid value.", METRIC_GAUGE),
    [ASIDE] = SPEC("set_aside", "1 while a key is left out because the provider refused or throttled it.", METRIC_GAUGE),
    [EXPIRES] = { .name = "tollgate_credential_expires_in_seconds", .help = "What remains of a key's life; keys that do not expire are left out.",
                  .kind = METRIC_GAUGE, .unit = "seconds", .labels = { "credential", "key" } },
    [REFUSED] = SPEC("refused", "Answers 401, 403 and 429 to requests with this key.", METRIC_COUNTER),
    [FETCHES] = SPEC("fetches", "Times a key was read or fetched.", METRIC_COUNTER),
    [FAILURES] = SPEC("fetch_failures", "Times that failed.", METRIC_COUNTER),
};

bool keys_metrics_add(struct metrics *m, struct metric *metric[KEYS_METRICS])
{
    for (int i = 0; i < KEYS_METRICS; i++)
        if ((metric[i] = metrics_add(m, &specs[i])) == NULL)
            return false;
    return true;
}

void keys_metrics_take(struct agent *a, struct metric *const metric[KEYS_METRICS])
{
    struct runtime *r = agent_runtime(a);
    struct credential_state s;
    char number[16];

    for (size_t i = 0; credential_store_state(r->credentials, i, clock_mono_us(), &s); i++) {
        snprintf(number, sizeof number, "%u", s.key);
        struct slice labels[] = { slice_cstr(s.name), slice_cstr(number) };
        metric_set(metric_series(metric[VALID], labels), s.valid);
        metric_set(metric_series(metric[ASIDE], labels), s.aside);
        metric_set(metric_series(metric[REFUSED], labels), (int64_t)s.refused);
        metric_set(metric_series(metric[FETCHES], labels), (int64_t)s.fetches);
        metric_set(metric_series(metric[FAILURES], labels), (int64_t)s.failures);
        if (s.expires_in_s >= 0)
            metric_set(metric_series(metric[EXPIRES], labels), s.expires_in_s);
    }
    runtime_unref(r);
    for (int i = 0; i < KEYS_METRICS; i++)
        metric_sweep(metric[i]);
}

void keys_pack(const struct runtime *r, msgpack_packer *p)
{
    struct credential_state s;
    size_t n = 0;
    int64_t now = clock_mono_us();

    while (credential_store_state(r->credentials, n, now, &s))
        n++;
    msgpack_pack_array(p, n);
    for (size_t i = 0; i < n && credential_store_state(r->credentials, i, now, &s); i++) {
        msgpack_pack_map(p, 11);
        rpc_put_cstr(p, "credential", s.name);
        rpc_put_int(p, "key", s.key);
        rpc_put_cstr(p, "name", s.key_name);
        rpc_put_cstr(p, "kind", s.kind);
        rpc_put_cstr(p, "state", !s.valid ? "no valid value" : s.aside ? "set aside" : "ok");
        rpc_put_int(p, "back_in_s", s.back_in_s);
        rpc_put_int(p, "expires_in_s", s.expires_in_s);
        rpc_put_int(p, "refused", (int64_t)s.refused);
        rpc_put_int(p, "fetches", (int64_t)s.fetches);
        rpc_put_int(p, "failures", (int64_t)s.failures);
        rpc_put_cstr(p, "error", s.error);
    }
}
