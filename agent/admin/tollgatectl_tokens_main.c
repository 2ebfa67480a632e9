#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"

#include <inttypes.h>

static void print_text(const msgpack_object *o, const char *name, int width)
{
    ctl_put_text(stdout, ctl_text(o, name), width);
    putchar(' ');
}

static void print_ratio(int64_t ppm)
{
    printf(" %6" PRId64 ".%03" PRId64, ppm / 1000000, ppm % 1000000 / 1000);
}

static void print_class(const msgpack_object *c)
{
    int64_t agreed = ctl_number(c, "agreed_ppm");

    print_text(c, "provider", 10);
    print_text(c, "model", 28);
    print_text(c, "shape", 10);
    printf("%6" PRId64 " %9" PRId64 " %5" PRId64 ".%" PRId64 "%%", ctl_number(c, "from_tokens"), ctl_number(c, "observations"), agreed / 10000,
           agreed % 10000 / 1000);
    print_ratio(ctl_number(c, "p01_ppm"));
    print_ratio(ctl_number(c, "median_ppm"));
    print_ratio(ctl_number(c, "p99_ppm"));
    print_ratio(ctl_number(c, "bound_ppm"));
    printf("  ");
    print_text(c, "bound_by", 0);
    putchar('\n');
}

int ctl_tokens(int argc, char **argv)
{
    struct ctl_options o;
    msgpack_unpacked held;
    msgpack_object result;
    int status;

    if (!ctl_options_read("tokens", argc, argv, false, &o, &status))
        return status;
    if (!ctl_ask(&o, "tokens", NULL, 0, &held, &result))
        return CTL_FAILED;
    if (o.json) {
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
    return CTL_DONE;
}
