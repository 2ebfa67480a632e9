#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "budget/options.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { TIMEOUT_S = 10 };

void ctl_print_json_text(FILE *out, const char *p, uint32_t n)
{
    putc('"', out);
    for (uint32_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < ' ')
            fprintf(out, "\\u%04x", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

void ctl_print_json(FILE *out, const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        fputs(o->via.boolean ? "true" : "false", out);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf(out, "%" PRIu64, o->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        fprintf(out, "%" PRId64, o->via.i64);
        break;
    case MSGPACK_OBJECT_STR:
        ctl_print_json_text(out, o->via.str.ptr, o->via.str.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        putc('[', out);
        for (uint32_t i = 0; i < o->via.array.size; i++) {
            fputs(i > 0 ? "," : "", out);
            ctl_print_json(out, &o->via.array.ptr[i]);
        }
        putc(']', out);
        break;
    case MSGPACK_OBJECT_MAP:
        putc('{', out);
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            fputs(i > 0 ? "," : "", out);
            ctl_print_json(out, &o->via.map.ptr[i].key);
            putc(':', out);
            ctl_print_json(out, &o->via.map.ptr[i].val);
        }
        putc('}', out);
        break;
    default:
        fputs("null", out);
    }
}

static bool ask(const struct ctl_options *o, const char *method, msgpack_unpacked *held, msgpack_object *result)
{
    char why[512];

    if (rpc_call(o->socket, method, NULL, 0, TIMEOUT_S, held, result, why, sizeof why))
        return true;
    fprintf(stderr, "tollgatectl: %s\n", why);
    msgpack_unpacked_destroy(held);
    return false;
}

static const msgpack_object *member(const msgpack_object *o, const char *name)
{
    for (uint32_t i = 0; o->type == MSGPACK_OBJECT_MAP && i < o->via.map.size; i++) {
        const msgpack_object *k = &o->via.map.ptr[i].key;
        if (k->type == MSGPACK_OBJECT_STR && k->via.str.size == strlen(name) && memcmp(k->via.str.ptr, name, strlen(name)) == 0)
            return &o->via.map.ptr[i].val;
    }
    return NULL;
}

static int64_t number(const msgpack_object *o, const char *name)
{
    const msgpack_object *v = member(o, name);
    return v != NULL && (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER || v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) ? v->via.i64 : 0;
}

static struct slice text(const msgpack_object *o, const char *name)
{
    const msgpack_object *v = member(o, name);
    return v != NULL && v->type == MSGPACK_OBJECT_STR ? slice_make(v->via.str.ptr, v->via.str.size) : SLICE_NONE;
}

static void print_instant(int64_t us, char *buf, size_t size)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;

    if (us <= 0) {
        snprintf(buf, size, "-");
        return;
    }
    gmtime_r(&s, &tm);
    strftime(buf, size, "%Y-%m-%d %H:%M:%SZ", &tm);
}

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
            print_instant(v->via.i64, when, sizeof when);
            printf(" %s\n", when);
        } else {
            printf(" %" PRId64 "\n", v->via.i64);
        }
    }
}

int ctl_status(const struct ctl_options *o)
{
    msgpack_unpacked held;
    msgpack_object result;

    if (!ask(o, "status", &held, &result))
        return 1;
    if (o->json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else {
        print_section(&result, 0);
    }
    msgpack_unpacked_destroy(&held);
    return 0;
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
    enum budget_unit u = unit_of(text(v, "unit"));

    budget_format_amount(number(v, "amount"), u, amount, sizeof amount);
    budget_format_amount(number(v, "used"), u, used, sizeof used);
    budget_format_amount(number(v, "held"), u, held, sizeof held);
    budget_format_amount(number(v, "left"), u, left, sizeof left);
    print_instant(number(v, "reset_us"), resets, sizeof resets);
    printf("%-20.*s %-28.*s %-10.*s %14s %14s %14s %14s  %s\n", SLICE_FMT(text(v, "limit")), SLICE_FMT(text(v, "subject")),
           SLICE_FMT(text(v, "window")), amount, used, held, left, resets);
}

int ctl_budget(const struct ctl_options *o)
{
    msgpack_unpacked held;
    msgpack_object result;

    if (!ask(o, "budget", &held, &result))
        return 1;
    if (o->json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else {
        printf("%-20s %-28s %-10s %14s %14s %14s %14s  %s\n", "LIMIT", "SUBJECT", "WINDOW", "AMOUNT", "USED", "HELD", "LEFT", "RESETS");
        for (uint32_t i = 0; result.type == MSGPACK_OBJECT_ARRAY && i < result.via.array.size; i++)
            if (result.via.array.ptr[i].type == MSGPACK_OBJECT_MAP)
                print_account(&result.via.array.ptr[i]);
    }
    msgpack_unpacked_destroy(&held);
    return 0;
}

int ctl_simple(const struct ctl_options *o, const char *method)
{
    msgpack_unpacked held;
    msgpack_object result;

    if (!ask(o, method, &held, &result))
        return 1;
    if (o->json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else if (result.type == MSGPACK_OBJECT_STR) {
        printf("%.*s\n", (int)result.via.str.size, result.via.str.ptr);
    }
    msgpack_unpacked_destroy(&held);
    return 0;
}
