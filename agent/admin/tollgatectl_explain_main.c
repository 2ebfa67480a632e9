/* tollgatectl explain: what the agent would decide about a request, and why. */
#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_certificate.h"
#include "base/secret.h"
#include "config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RPC_TIMEOUT_S = 10, TOKEN_MAX = 17000 };

/* The file's content without blanks around it. */
static bool token_read(const char *path, char out[static TOKEN_MAX])
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    size_t n = f != NULL ? fread(out, 1, TOKEN_MAX, f) : 0, from = 0;
    bool bad = f == NULL || ferror(f) || n == TOKEN_MAX;

    if (bad)
        fprintf(stderr, "tollgatectl: %s: %s\n", path, f == NULL || ferror(f) ? strerror(errno) : "larger than any token");
    if (f != NULL && f != stdin)
        fclose(f);
    if (bad)
        return false;
    while (n > 0 && strchr(" \t\r\n", out[n - 1]) != NULL)
        n--;
    while (from < n && strchr(" \t\r\n", out[from]) != NULL)
        from++;
    memmove(out, out + from, n - from);
    out[n - from] = '\0';
    return true;
}

static bool flag(const msgpack_object *o, const char *name)
{
    const msgpack_object *v = o != NULL ? ctl_member(o, name) : NULL;
    return v != NULL && v->type == MSGPACK_OBJECT_BOOLEAN && v->via.boolean;
}

static void line(const char *what, const msgpack_object *o, const char *name)
{
    struct slice v = ctl_text(o, name);

    if (v.n == 0)
        return;
    printf("  %-13s ", what);
    ctl_put_text(stdout, v, 0);
    putchar('\n');
}

static void print_refusal(const char *head, const msgpack_object *o)
{
    printf("%s: refused with %" PRId64 " %.*s (%.*s)\n", head, ctl_number(o, "status"), SLICE_FMT(ctl_text(o, "code")),
           SLICE_FMT(ctl_text(o, "reason")));
    line("says", o, "message");
    line("hint", o, "hint");
}

static void print_identity(const msgpack_object *o)
{
    static const char *const names[] = { "issuer", "subject", "organization", "team", "user", "application", "cost_center", "key",
                                        "certificate" };
    const msgpack_object *groups = ctl_member(o, "groups");

    if (!flag(o, "accepted")) {
        print_refusal("identity", o);
        return;
    }
    printf("identity: accepted\n");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        line(names[i], o, names[i]);
    line("by rule", o, "certificate_rule");
    for (uint32_t i = 0; groups != NULL && groups->type == MSGPACK_OBJECT_ARRAY && i < groups->via.array.size; i++) {
        const msgpack_object *g = &groups->via.array.ptr[i];
        printf("  %-13s ", "group");
        ctl_put_text(stdout, slice_make(g->via.str.ptr, g->via.str.size), 0);
        putchar('\n');
    }
}

/* access[2] batch: concerns this caller, but networks: 192.0.2.0/24 */
static void print_rules(const msgpack_object *list)
{
    for (uint32_t i = 0; list != NULL && list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++) {
        const msgpack_object *r = &list->via.array.ptr[i];
        printf("  access[%" PRId64 "] %.*s: ", ctl_number(r, "at"), SLICE_FMT(ctl_text(r, "rule")));
        if (ctl_text(r, "fails").n == 0)
            printf("all of it holds\n");
        else
            printf("%s %.*s: %.*s\n", flag(r, "concerns") ? "concerns this caller, but allows" : "concerns others,", SLICE_FMT(ctl_text(r, "fails")),
                   SLICE_FMT(ctl_text(r, "wants")));
    }
}

static void print_policy(const msgpack_object *o)
{
    if (!flag(o, "allowed")) {
        printf("policy: refused (%.*s)\n", SLICE_FMT(ctl_text(o, "reason")));
        line("rule", o, "rule");
        line("says", o, "message");
        print_rules(ctl_member(o, "rules"));
        return;
    }
    printf("policy: allowed\n");
    line("rule", o, "rule");
    if (ctl_number(o, "max_output") >= 0)
        printf("  %-13s at most %" PRId64 " tokens\n", "output", ctl_number(o, "max_output"));
}

static void print_route(const msgpack_object *o)
{
    static const char *const legs[] = { "primary", "fallback" };

    if (!flag(o, "found")) {
        print_refusal("route", o);
        return;
    }
    printf("route:\n");
    for (size_t i = 0; i < 2; i++) {
        const msgpack_object *t = ctl_member(o, legs[i]);
        if (t != NULL && ctl_text(t, "provider").n > 0)
            printf("  %-13s %.*s, model %.*s\n", legs[i], SLICE_FMT(ctl_text(t, "provider")), SLICE_FMT(ctl_text(t, "model")));
    }
}

static void print_limits(const msgpack_object *list)
{
    char reset[32], left[CTL_AMOUNT_SIZE], amount[CTL_AMOUNT_SIZE];

    printf("limits:\n");
    for (uint32_t i = 0; list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i++) {
        const msgpack_object *l = &list->via.array.ptr[i];
        enum budget_unit unit = ctl_unit(ctl_text(l, "unit"));
        ctl_instant(ctl_number(l, "reset_us"), reset, sizeof reset);
        printf("  ");
        ctl_put_text(stdout, ctl_text(l, "limit"), 0);
        printf(" (");
        ctl_put_text(stdout, ctl_text(l, "subject"), 0);
        printf(", %.*s, %.*s): %s of %s left", SLICE_FMT(ctl_text(l, "window")), SLICE_FMT(ctl_text(l, "action")),
               budget_format_amount(ctl_number(l, "left"), unit, left, sizeof left), ctl_amount(ctl_number(l, "amount"), unit, amount));
        if (ctl_number(l, "reset_us") > 0)
            printf(", resets %s", reset);
        putchar('\n');
    }
}

static int print(const msgpack_object *answer, bool json)
{
    const msgpack_object *identity = ctl_member(answer, "identity"), *policy = ctl_member(answer, "policy"), *route = ctl_member(answer, "route"),
                         *limits = ctl_member(answer, "limits");

    if (json) {
        ctl_print_json(stdout, answer);
        putchar('\n');
    } else {
        print_identity(identity);
        if (policy != NULL && route != NULL && limits != NULL) {
            print_policy(policy);
            print_route(route);
            print_limits(limits);
        }
    }
    return flag(identity, "accepted") && flag(policy, "allowed") && flag(route, "found") ? CTL_DONE : CTL_FAILED;
}

static bool instant_read(const char *text, char out[static 24])
{
    int64_t seconds = 0;

    if (text != NULL && !period_instant(text, &seconds)) {
        fprintf(stderr, "tollgatectl: --at %s is no time; allowed: 2026-11-23 or 2026-11-23T14:30 (UTC)\n", text);
        return false;
    }
    snprintf(out, 24, "%" PRId64, seconds * 1000000);
    return true;
}

static bool count_check(const char *option, const char *text)
{
    char *end;

    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && n >= -1)
        return true;
    fprintf(stderr, "tollgatectl: %s %s is no number of tokens\n", option, text);
    return false;
}

static bool address_check(const char *text)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1)
        return true;
    fprintf(stderr, "tollgatectl: --address %s is no IP address; allowed: 192.0.2.7 or 2001:db8::7\n", text);
    return false;
}

int ctl_explain(int argc, char **argv)
{
    static char token[TOKEN_MAX], der[CTL_CERTIFICATE_HEX];
    struct ctl_place place = { .file = NULL };
    const char *words[1], *file = NULL, *shown = NULL, *model = NULL, *endpoint = "chat", *address = "127.0.0.1", *input = "-1", *at = NULL;
    bool json = false, help = false;
    const struct ctl_arg args[] = {
        { "--config", &place.config_file, NULL }, { "--socket", &place.socket, NULL }, { "--json", NULL, &json }, { "--help", NULL, &help },
        { "--token", &file, NULL }, { "--model", &model, NULL }, { "--endpoint", &endpoint, NULL }, { "--address", &address, NULL },
        { "--prompt", &input, NULL }, { "--at", &at, NULL }, { "--certificate", &shown, NULL }
    };
    char instant[24], why[600];
    msgpack_unpacked held;
    msgpack_object answer;
    size_t n;

    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, words, 0, &n))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "explain");
    if ((file == NULL && shown == NULL) || model == NULL)
        return ctl_help(stderr, "explain");
    if (!instant_read(at, instant) || !count_check("--prompt", input) || !address_check(address))
        return CTL_USAGE;
    int rc = CTL_FAILED;
    if (ctl_place_find(&place) && (file == NULL || token_read(file, token)) && (shown == NULL || ctl_certificate_read(shown, der, NULL))) {
        const char *params[] = { token, model, endpoint, address, input, instant, der };
        if (rpc_call(place.admin, "explain", params, 7, RPC_TIMEOUT_S, &held, &answer, why, sizeof why))
            rc = print(&answer, json);
        else
            fprintf(stderr, "tollgatectl: %s\n", why);
        msgpack_unpacked_destroy(&held);
    }
    secret_wipe(token, sizeof token);
    config_free(place.config);
    return rc;
}
