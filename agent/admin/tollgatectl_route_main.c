#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_commands.h"
#include "config/config.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { RPC_TIMEOUT_S = 10, KEPT_TRIES = 200 /* times 50 ms */ };

static const msgpack_object *member(const msgpack_object *o, const char *name)
{
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object *k = &o->via.map.ptr[i].key;
        if (k->type == MSGPACK_OBJECT_STR && k->via.str.size == strlen(name) && memcmp(k->via.str.ptr, name, k->via.str.size) == 0)
            return &o->via.map.ptr[i].val;
    }
    return NULL;
}

static int64_t number(const msgpack_object *o, const char *name)
{
    const msgpack_object *v = member(o, name);
    return v != NULL && (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER || v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) ? v->via.i64 : 0;
}

static void text(const msgpack_object *o, const char *name, char *out, size_t size)
{
    const msgpack_object *v = member(o, name);
    snprintf(out, size, "%.*s", v != NULL && v->type == MSGPACK_OBJECT_STR ? (int)v->via.str.size : 0,
             v != NULL && v->type == MSGPACK_OBJECT_STR ? v->via.str.ptr : "");
}

static void milliseconds(int64_t us)
{
    if (us < 0)
        printf(" %9s", "-");
    else
        printf(" %9" PRId64, us / 1000);
}

static void print_target(const msgpack_object *o)
{
    char group[64], model[256], name[330], state[32], reason[32];

    text(o, "group", group, sizeof group);
    text(o, "model", model, sizeof model);
    text(o, "state", state, sizeof state);
    text(o, "reason", reason, sizeof reason);
    snprintf(name, sizeof name, "%s/%s", group, model);
    printf("%-36s %-9s %-7s %7.1f %7" PRId64 "/%-6" PRId64, name, state, number(o, "drained") ? "drained" : "-",
           (double)number(o, "open_ms") / 1000, number(o, "errors"), number(o, "requests"));
    milliseconds(number(o, "ttft_us"));
    int64_t each_us = number(o, "tpot_ns");
    milliseconds(each_us < 0 ? -1 : each_us / 1000);
    milliseconds(number(o, "plain_us"));
    printf("  %s\n", reason[0] != '\0' ? reason : "-");
}

static bool call(const struct ctl_place *p, const char *method, const char *target, msgpack_unpacked *held, msgpack_object *result)
{
    char why[512];
    const char *const params[] = { target };

    if (rpc_call(p->admin, method, params, target != NULL, RPC_TIMEOUT_S, held, result, why, sizeof why))
        return true;
    fprintf(stderr, "tollgatectl: %s\n", why);
    return false;
}

static int status(const struct ctl_place *p, const char *target, bool json)
{
    msgpack_unpacked held;
    msgpack_object result;

    if (!call(p, "route_status", target, &held, &result)) {
        msgpack_unpacked_destroy(&held);
        return CTL_FAILED;
    }
    if (json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else {
        printf("%-36s %-9s %-7s %7s %14s %9s %9s %9s  %s\n", "TARGET", "STATE", "DRAINED", "OPEN s", "ERRORS/ALL", "TTFT ms", "TOKEN ms",
               "PLAIN ms", "OPENED FOR");
        for (uint32_t i = 0; result.type == MSGPACK_OBJECT_ARRAY && i < result.via.array.size; i++)
            if (result.via.array.ptr[i].type == MSGPACK_OBJECT_MAP)
                print_target(&result.via.array.ptr[i]);
    }
    msgpack_unpacked_destroy(&held);
    return CTL_DONE;
}

static bool all_kept(const struct ctl_place *p, const char *target)
{
    msgpack_unpacked held;
    msgpack_object result;
    bool kept = call(p, "route_status", target, &held, &result);

    for (uint32_t i = 0; kept && result.type == MSGPACK_OBJECT_ARRAY && i < result.via.array.size; i++)
        kept = result.via.array.ptr[i].type == MSGPACK_OBJECT_MAP && number(&result.via.array.ptr[i], "kept") != 0;
    msgpack_unpacked_destroy(&held);
    return kept;
}

/* Done means on disk: what an operator has seen done must not come undone by a crash. */
static int change(const struct ctl_place *p, const char *method, const char *word, const char *target, bool json)
{
    msgpack_unpacked held;
    msgpack_object result;
    struct timespec pause = { .tv_nsec = 50000000 };

    bool ok = call(p, method, target, &held, &result);
    int64_t n = ok && result.type == MSGPACK_OBJECT_POSITIVE_INTEGER ? result.via.i64 : 0;
    msgpack_unpacked_destroy(&held);
    if (!ok)
        return CTL_FAILED;
    for (int i = 0; !all_kept(p, target); i++) {
        if (i == KEPT_TRIES) {
            fprintf(stderr, "tollgatectl: %s, but the ledger cannot be written: a restart would undo it\n", word);
            return CTL_FAILED;
        }
        nanosleep(&pause, NULL);
    }
    if (json)
        printf("{\"targets\":%" PRId64 "}\n", n);
    else
        printf("%s: %" PRId64 " target%s\n", word, n, n == 1 ? "" : "s");
    return CTL_DONE;
}

int ctl_route(int argc, char **argv)
{
    struct ctl_place p = { .file = NULL };
    const char *words[2] = { NULL };
    bool json = false, help = false;
    const struct ctl_arg args[] = { { "--config", &p.config_file, NULL }, { "--socket", &p.socket, NULL }, { "--json", NULL, &json },
                                    { "--help", NULL, &help } };
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 2, &n))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "route");
    bool drain = n == 2 && strcmp(words[0], "drain") == 0, enable = n == 2 && strcmp(words[0], "enable") == 0;
    if (!drain && !enable && (n == 0 || strcmp(words[0], "status") != 0))
        return ctl_help(stderr, "route");
    int rc = CTL_FAILED;
    if (ctl_place_find(&p))
        rc = drain    ? change(&p, "route_drain", "drained", words[1], json)
             : enable ? change(&p, "route_enable", "enabled", words[1], json)
                      : status(&p, words[1], json);
    config_free(p.config);
    return rc;
}
