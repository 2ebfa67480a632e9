#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "budget/options.h"

#include <inttypes.h>
#include <string.h>

/* Scalars of a map as "  name   value" lines, maps below as sections. */
static void print_section(const msgpack_object *o, int indent)
{
    char when[32];

    for (uint32_t i = 0; o->type == MSGPACK_OBJECT_MAP && i < o->via.map.size; i++) {
        const msgpack_object *k = &o->via.map.ptr[i].key, *v = &o->via.map.ptr[i].val;
        printf("%*s%-*.*s", indent, "", 22 - indent, (int)k->via.str.size, k->via.str.ptr);
        if (v->type == MSGPACK_OBJECT_MAP) {
            putchar('\n');
            print_section(v, indent + 2);
        } else if (v->type == MSGPACK_OBJECT_ARRAY) {
            putchar('\n');
            for (uint32_t n = 0; n < v->via.array.size; n++)
                print_section(&v->via.array.ptr[n], indent + 2);
        } else if (v->type == MSGPACK_OBJECT_STR) {
            printf(" %.*s\n", (int)v->via.str.size, v->via.str.ptr);
        } else if (k->via.str.size > 3 && memcmp(k->via.str.ptr + k->via.str.size - 3, "_us", 3) == 0 && v->via.i64 > INT64_C(1) << 48) {
            ctl_instant(v->via.i64, when, sizeof when);
            printf(" %s\n", when);
        } else {
            printf(" %" PRId64 "\n", v->via.i64);
        }
    }
}

int ctl_status(int argc, char **argv)
{
    struct ctl_options o;
    msgpack_unpacked held;
    msgpack_object result;
    int status;

    if (!ctl_options_read("status", argc, argv, false, &o, &status))
        return status;
    if (!ctl_ask(&o, "status", NULL, 0, &held, &result))
        return CTL_FAILED;
    if (o.json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else {
        print_section(&result, 0);
    }
    msgpack_unpacked_destroy(&held);
    return CTL_DONE;
}

static enum budget_unit unit_of(struct slice name)
{
    for (int u = BUDGET_USD; u <= BUDGET_CONCURRENT; u++)
        if (slice_eq_cstr(name, budget_unit_name((enum budget_unit)u)))
            return (enum budget_unit)u;
    return BUDGET_TOKENS;
}

static void print_account(const msgpack_object *v)
{
    char amount[32], used[32], held[32], left[32], resets[32];
    enum budget_unit u = unit_of(ctl_text(v, "unit"));

    budget_format_amount(ctl_number(v, "amount"), u, amount, sizeof amount);
    budget_format_amount(ctl_number(v, "used"), u, used, sizeof used);
    budget_format_amount(ctl_number(v, "held"), u, held, sizeof held);
    budget_format_amount(ctl_number(v, "left"), u, left, sizeof left);
    ctl_instant(ctl_number(v, "reset_us"), resets, sizeof resets);
    printf("%-20.*s %-28.*s %-10.*s %14s %14s %14s %14s  %s\n", SLICE_FMT(ctl_text(v, "limit")), SLICE_FMT(ctl_text(v, "subject")),
           SLICE_FMT(ctl_text(v, "window")), amount, used, held, left, resets);
}

int ctl_budget(int argc, char **argv)
{
    struct ctl_options o;
    msgpack_unpacked held;
    msgpack_object result;
    int status;

    if (!ctl_options_read("budget", argc, argv, false, &o, &status))
        return status;
    if (!ctl_ask(&o, "budget", NULL, 0, &held, &result))
        return CTL_FAILED;
    if (o.json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else {
        printf("%-20s %-28s %-10s %14s %14s %14s %14s  %s\n", "LIMIT", "SUBJECT", "WINDOW", "AMOUNT", "USED", "HELD", "LEFT", "RESETS");
        for (uint32_t i = 0; result.type == MSGPACK_OBJECT_ARRAY && i < result.via.array.size; i++)
            if (result.via.array.ptr[i].type == MSGPACK_OBJECT_MAP)
                print_account(&result.via.array.ptr[i]);
    }
    msgpack_unpacked_destroy(&held);
    return CTL_DONE;
}

/* Commands whose answer is a sentence. */
static int simple(const char *method, int argc, char **argv)
{
    struct ctl_options o;
    msgpack_unpacked held;
    msgpack_object result;
    int status;

    if (!ctl_options_read(method, argc, argv, false, &o, &status))
        return status;
    if (!ctl_ask(&o, method, NULL, 0, &held, &result))
        return CTL_FAILED;
    if (o.json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else if (result.type == MSGPACK_OBJECT_STR) {
        printf("%.*s\n", (int)result.via.str.size, result.via.str.ptr);
    }
    msgpack_unpacked_destroy(&held);
    return CTL_DONE;
}

int ctl_reload(int argc, char **argv)
{
    return simple("reload", argc, argv);
}

int ctl_ping(int argc, char **argv)
{
    return simple("ping", argc, argv);
}
