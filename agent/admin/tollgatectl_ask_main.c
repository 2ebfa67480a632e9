#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "base/log_text.h"
#include "config/config.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { TIMEOUT_S = 10, ARGS_MAX = 12 };

static bool has_option(const struct ctl_command *c, const char *name)
{
    for (const struct ctl_option *o = c->options; o->name != NULL; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return strcmp(name, "--help") == 0;
}

bool ctl_options_read(const char *command, int argc, char **argv, bool words, struct ctl_options *o, int *status)
{
    bool help = false;
    const struct ctl_arg all[] = { { "--socket", &o->socket, NULL },     { "--config", &o->config, NULL }, { "--encoding", &o->encoding, NULL },
                                   { "--endpoint", &o->endpoint, NULL }, { "--json", NULL, &o->json },     { "--raw", NULL, &o->raw },
                                   { "--path", &o->path, NULL },         { "--no-cache", NULL, &o->no_cache }, { "--team", &o->team, NULL },
                                   { "--organization", &o->organization, NULL }, { "--help", NULL, &help } };
    struct ctl_arg args[ARGS_MAX];
    size_t count = 0, found;

    *o = (struct ctl_options){ .socket = NULL };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (has_option(ctl_command_find(command), all[i].name))
            args[count++] = all[i];
    if (!ctl_args(argc, argv, args, count, &o->file, words ? 1 : 0, &found))
        *status = CTL_USAGE;
    else if (help)
        *status = ctl_help(stdout, command);
    else
        return true;
    return false;
}

bool ctl_ask(const struct ctl_options *o, const char *method, const char *const *params, size_t count, msgpack_unpacked *held,
             msgpack_object *result)
{
    struct ctl_place place = { .socket = o->socket, .config_file = o->config };
    char why[512];

    if (!ctl_place_find(&place))
        return false;
    bool ok = rpc_call(place.admin, method, params, count, TIMEOUT_S, held, result, why, sizeof why);
    if (!ok) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        msgpack_unpacked_destroy(held);
    }
    config_free(place.config);
    return ok;
}

const msgpack_object *ctl_member(const msgpack_object *o, const char *name)
{
    for (uint32_t i = 0; o->type == MSGPACK_OBJECT_MAP && i < o->via.map.size; i++) {
        const msgpack_object *k = &o->via.map.ptr[i].key;
        if (k->type == MSGPACK_OBJECT_STR && k->via.str.size == strlen(name) && memcmp(k->via.str.ptr, name, k->via.str.size) == 0)
            return &o->via.map.ptr[i].val;
    }
    return NULL;
}

int64_t ctl_number(const msgpack_object *o, const char *name)
{
    const msgpack_object *v = ctl_member(o, name);
    return v != NULL && (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER || v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) ? v->via.i64 : 0;
}

struct slice ctl_text(const msgpack_object *o, const char *name)
{
    const msgpack_object *v = ctl_member(o, name);
    return v != NULL && v->type == MSGPACK_OBJECT_STR ? slice_make(v->via.str.ptr, v->via.str.size) : SLICE_NONE;
}

void ctl_instant(int64_t us, char *buf, size_t size)
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

static void put_escaped(FILE *out, enum log_escape how, const char *p, size_t n)
{
    char block[512];
    size_t used;

    for (size_t at = 0; at < n; at += used) {
        size_t len = log_text_escape(how, block, sizeof block, slice_make(p + at, n - at), &used);
        fwrite(block, 1, len, out);
    }
}

void ctl_put_text(FILE *out, struct slice text, int width)
{
    if (text.n > 0)
        put_escaped(out, LOG_ESCAPE_JOURNAL, text.p, text.n);
    fprintf(out, "%*s", (int)text.n < width ? width - (int)text.n : 0, "");
}

void ctl_print_json_text(FILE *out, const char *p, uint32_t n)
{
    putc('"', out);
    put_escaped(out, LOG_ESCAPE_JSON, p, n);
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
