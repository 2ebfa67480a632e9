#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_WIDTH = 22 };

static bool ends_with(struct slice name, const char *suffix)
{
    size_t n = strlen(suffix);
    return name.n > n && memcmp(name.p + name.n - n, suffix, n) == 0;
}

/* Figures carry their unit in their name: it is written behind the value instead. */
static void print_figure(struct slice name, int64_t v)
{
    char text[32];

    if (ends_with(name, "_us") && (v <= 0 || v > INT64_C(1) << 48)) {
        ctl_instant(v, text, sizeof text);
        printf(" %s\n", text);
    } else if (ends_with(name, "_us")) {
        printf(" %" PRId64 " us\n", v);
    } else if (ends_with(name, "_s")) {
        v < 0 ? printf(" -\n") : printf(" %" PRId64 " s\n", v);
    } else if (ends_with(name, "_nano")) {
        printf(" %s\n", budget_format_amount(v, BUDGET_USD, text, sizeof text));
    } else {
        printf(" %" PRId64 "%s\n", v, ends_with(name, "_bytes") ? " bytes" : "");
    }
}

/* `width` 0: nothing stands behind it. */
static void print_label(struct slice name, int indent, int width)
{
    static const char *const units[] = { "_us", "_s", "_nano", "_bytes" };
    size_t n = name.n;

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (ends_with(name, units[i]))
            n = name.n - strlen(units[i]);
    printf("%*s", indent, "");
    for (size_t i = 0; i < n; i++)
        putchar(name.p[i] == '_' ? ' ' : name.p[i]);
    printf("%*s", width - indent > (int)n ? width - indent - (int)n : 0, "");
}

/* Scalars of a map as "  name   value" lines, maps below as sections; the first member of a list's map is its heading. */
static void print_section(const msgpack_object *o, int indent, bool item)
{
    for (uint32_t i = 0; o->type == MSGPACK_OBJECT_MAP && i < o->via.map.size; i++) {
        const msgpack_object *k = &o->via.map.ptr[i].key, *v = &o->via.map.ptr[i].val;
        struct slice name = slice_make(k->via.str.ptr, k->via.str.size);
        bool list = v->type == MSGPACK_OBJECT_MAP || v->type == MSGPACK_OBJECT_ARRAY;
        print_label(name, item && i > 0 ? indent + 2 : indent, list ? 0 : LABEL_WIDTH);
        if (v->type == MSGPACK_OBJECT_MAP) {
            putchar('\n');
            print_section(v, indent + 2, false);
        } else if (v->type == MSGPACK_OBJECT_ARRAY) {
            putchar('\n');
            for (uint32_t n = 0; n < v->via.array.size; n++)
                print_section(&v->via.array.ptr[n], indent + 2, true);
        } else if (v->type == MSGPACK_OBJECT_STR) {
            putchar(' ');
            ctl_put_text(stdout, v->via.str.size > 0 ? slice_make(v->via.str.ptr, v->via.str.size) : slice_cstr("-"), 0);
            putchar('\n');
        } else {
            print_figure(name, v->via.i64);
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
        print_section(&result, 0, false);
    }
    msgpack_unpacked_destroy(&held);
    return CTL_DONE;
}

enum budget_unit ctl_unit(struct slice name)
{
    for (int u = BUDGET_USD; u <= BUDGET_CONCURRENT; u++)
        if (slice_eq_cstr(name, budget_unit_name((enum budget_unit)u)))
            return (enum budget_unit)u;
    return BUDGET_TOKENS;
}

const char *ctl_amount(int64_t v, enum budget_unit unit, char buf[static CTL_AMOUNT_SIZE])
{
    static const char *const nouns[] = { [BUDGET_TOKENS] = "token", [BUDGET_REQUESTS] = "request" };

    if (unit == BUDGET_USD)
        return budget_format_amount(v, unit, buf, CTL_AMOUNT_SIZE);
    if (unit == BUDGET_CONCURRENT)
        snprintf(buf, CTL_AMOUNT_SIZE, "%" PRId64 " at once", v);
    else
        snprintf(buf, CTL_AMOUNT_SIZE, "%" PRId64 " %s%s", v, nouns[unit], v == 1 ? "" : "s");
    return buf;
}

static const struct table_column account_columns[] = { { "limit", TABLE_TEXT, false },   { "subject", TABLE_TEXT, false },
                                                       { "window", TABLE_TEXT, false },  { "action", TABLE_TEXT, false },
                                                       { "amount", TABLE_FIGURE, false }, { "used", TABLE_FIGURE, false },
                                                       { "held", TABLE_FIGURE, false },  { "left", TABLE_FIGURE, false },
                                                       { "resets", TABLE_TEXT, false } };

static void add_account(struct table *t, const msgpack_object *v)
{
    static const char *const figures[] = { "used", "held", "left" };
    static const char *const names[] = { "limit", "subject", "window", "action" };
    enum budget_unit unit = ctl_unit(ctl_text(v, "unit"));
    char text[CTL_AMOUNT_SIZE];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        table_text(t, ctl_text(v, names[i]));
    table_text(t, slice_cstr(ctl_amount(ctl_number(v, "amount"), unit, text)));
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        table_text(t, slice_cstr(budget_format_amount(ctl_number(v, figures[i]), unit, text, sizeof text)));
    ctl_instant(ctl_number(v, "reset_us"), text, sizeof text);
    table_text(t, slice_cstr(text));
}

static int compare(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

static int by_limit_and_subject(const void *a, const void *b)
{
    const msgpack_object *x = a, *y = b;
    int order = compare(ctl_text(x, "limit"), ctl_text(y, "limit"));

    return order != 0 ? order : compare(ctl_text(x, "subject"), ctl_text(y, "subject"));
}

static int print_accounts(const msgpack_object *list)
{
    struct table *t = table_new(account_columns, sizeof account_columns / sizeof *account_columns);
    int rc = CTL_FAILED;

    if (t == NULL)
        return rc;
    if (list->type == MSGPACK_OBJECT_ARRAY && list->via.array.size > 0) {
        qsort(list->via.array.ptr, list->via.array.size, sizeof *list->via.array.ptr, by_limit_and_subject);
        for (uint32_t i = 0; i < list->via.array.size; i++)
            add_account(t, &list->via.array.ptr[i]);
    }
    if (table_write(t, FORMAT_TABLE, "", stdout) == 0)
        rc = CTL_DONE;
    table_free(t);
    return rc;
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
    status = CTL_DONE;
    if (o.json) {
        ctl_print_json(stdout, &result);
        putchar('\n');
    } else {
        status = print_accounts(&result);
    }
    msgpack_unpacked_destroy(&held);
    return status;
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
