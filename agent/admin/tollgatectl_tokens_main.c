#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "base/slice.h"

#include <inttypes.h>
#include <string.h>

enum { TIMEOUT_S = 10 };

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

/* Names come from requests' answers: what could steer a terminal is shown as '?'. */
static void print_text(const msgpack_object *o, const char *name, int width)
{
    const msgpack_object *v = member(o, name);
    uint32_t n = v != NULL && v->type == MSGPACK_OBJECT_STR ? v->via.str.size : 0;

    for (uint32_t i = 0; i < n; i++)
        putchar((unsigned char)v->via.str.ptr[i] < ' ' || v->via.str.ptr[i] == 127 ? '?' : v->via.str.ptr[i]);
    printf("%*s ", (int)n < width ? width - (int)n : 0, "");
}

static void print_ratio(int64_t ppm)
{
    printf(" %6" PRId64 ".%03" PRId64, ppm / 1000000, ppm % 1000000 / 1000);
}

static void print_class(const msgpack_object *c)
{
    int64_t agreed = number(c, "agreed_ppm");

    print_text(c, "provider", 10);
    print_text(c, "model", 28);
    print_text(c, "shape", 10);
    printf("%6" PRId64 " %9" PRId64 " %5" PRId64 ".%" PRId64 "%%", number(c, "from_tokens"), number(c, "observations"), agreed / 10000,
           agreed % 10000 / 1000);
    print_ratio(number(c, "p01_ppm"));
    print_ratio(number(c, "median_ppm"));
    print_ratio(number(c, "p99_ppm"));
    print_ratio(number(c, "bound_ppm"));
    printf("  ");
    print_text(c, "bound_by", 0);
    putchar('\n');
}

int ctl_tokens(const struct ctl_options *o)
{
    msgpack_unpacked held;
    msgpack_object result;
    char why[512];

    if (!rpc_call(o->socket, "tokens", NULL, 0, TIMEOUT_S, &held, &result, why, sizeof why)) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        msgpack_unpacked_destroy(&held);
        return 1;
    }
    if (o->json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else {
        printf("%-10s %-28s %-10s %6s %9s %7s %10s %10s %10s %10s\n", "PROVIDER", "MODEL", "SHAPE", "FROM", "OBSERVED", "AGREED", "1%",
               "MEDIAN", "99%", "BOUND");
        for (uint32_t i = 0; result.type == MSGPACK_OBJECT_ARRAY && i < result.via.array.size; i++)
            if (result.via.array.ptr[i].type == MSGPACK_OBJECT_MAP)
                print_class(&result.via.array.ptr[i]);
    }
    msgpack_unpacked_destroy(&held);
    return 0;
}
