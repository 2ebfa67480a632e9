/* tollgatectl doctor: looks at everything tollgate stands on, and says what to do about what is not well. Works without an agent. */
#include "admin/tollgatectl_doctor.h"

#include "admin/rpc.h"
#include "admin/tollgatectl.h"
#include "admin/tollgatectl_colour.h"
#include "base/clock.h"
#include "config/config.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_S = 5, TEXT_BYTES = 700 };

struct doctor_finding {
    struct doctor_finding *next;
    enum doctor_level level;
    const char *check;
    char *subject, *fix, *text;
};

static const char *const levels[] = { "ok", "warning", "failure" };

void doctor_say(struct doctor *d, enum doctor_level level, const char *check, const char *subject, const char *fix, const char *format, ...)
{
    struct doctor_finding *f = calloc(1, sizeof *f);
    char text[TEXT_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (f == NULL || (f->text = strdup(text)) == NULL || (f->subject = strdup(subject)) == NULL || (fix != NULL && (f->fix = strdup(fix)) == NULL))
        abort();
    f->level = level;
    f->check = check;
    *d->last = f;
    d->last = &f->next;
    d->counts[level]++;
}

static void put_text(const char *s)
{
    ctl_put_text(stdout, slice_cstr(s), 0);
}

static void print_people(const struct doctor *d)
{
    static const enum ctl_colour colours[] = { CTL_GREEN, CTL_YELLOW, CTL_RED };
    bool colour = ctl_colour_wanted();

    for (const struct doctor_finding *f = d->findings; f != NULL; f = f->next) {
        printf("%s%-8s%s %-13s ", ctl_colour(colour, colours[f->level]), levels[f->level], ctl_colour(colour, CTL_PLAIN), f->check);
        put_text(f->subject);
        fputs(f->subject[0] != '\0' ? ": " : "", stdout);
        put_text(f->text);
        putchar('\n');
        if (f->fix != NULL) {
            fputs("         fix: ", stdout);
            put_text(f->fix);
            putchar('\n');
        }
    }
    printf("\n%u ok, %u warning%s, %u failure%s\n", d->counts[DOCTOR_OK], d->counts[DOCTOR_WARNING], d->counts[DOCTOR_WARNING] == 1 ? "" : "s",
           d->counts[DOCTOR_FAILURE], d->counts[DOCTOR_FAILURE] == 1 ? "" : "s");
}

static void json_member(const char *name, const char *value)
{
    printf("\"%s\":", name);
    if (value == NULL)
        fputs("null", stdout);
    else
        ctl_print_json_text(stdout, value, (uint32_t)strlen(value));
}

static void print_json(const struct doctor *d)
{
    printf("{\"ok\":%u,\"warnings\":%u,\"failures\":%u,\"findings\":[", d->counts[DOCTOR_OK], d->counts[DOCTOR_WARNING], d->counts[DOCTOR_FAILURE]);
    for (const struct doctor_finding *f = d->findings; f != NULL; f = f->next) {
        putchar('{');
        json_member("level", levels[f->level]);
        putchar(',');
        json_member("check", f->check);
        putchar(',');
        json_member("subject", f->subject);
        putchar(',');
        json_member("text", f->text);
        putchar(',');
        json_member("fix", f->fix);
        fputs(f->next != NULL ? "}," : "}", stdout);
    }
    puts("]}");
}

/* The agent first: it knows which configuration it runs with. */
static void ask_agent(struct doctor *d, msgpack_unpacked *held)
{
    char why[512];

    d->agent = rpc_call(d->place.admin, "status", NULL, 0, TIMEOUT_S, held, &d->status, why, sizeof why);
    if (d->agent)
        doctor_say(d, DOCTOR_OK, "agent", d->place.admin, NULL, "version %.*s answers", SLICE_FMT(ctl_text(&d->status, "version")));
    else
        doctor_say(d, DOCTOR_FAILURE, "agent", d->place.admin, "start it: systemctl start tollgate; why it does not run: journalctl -u tollgate", "%s", why);
    if (d->agent && !slice_eq_cstr(ctl_text(&d->status, "version"), TOLLGATE_VERSION))
        doctor_say(d, DOCTOR_WARNING, "agent", d->place.admin, "restart the agent: systemctl restart tollgate", "this tollgatectl is version %s", TOLLGATE_VERSION);
}

static void load_config(struct doctor *d)
{
    struct config_errors errors;

    if (d->config_file == NULL)
        return;
    d->place.config = config_load(d->config_file, &errors);
    d->config = d->place.config;
    if (d->config != NULL) {
        doctor_say(d, DOCTOR_OK, "config", d->config_file, NULL, "good: %u issuers, %u providers, %u models, %u limits", d->config->issuers_count,
                   d->config->providers_count, d->config->models_count, d->config->limits_count);
        return;
    }
    errors.text[strcspn(errors.text, "\n")] = '\0';
    doctor_say(d, DOCTOR_FAILURE, "config", d->config_file, "tollgate check says all that is wrong with it", "%s", errors.text);
}

static void look(struct doctor *d)
{
    msgpack_unpacked held;
    char own[4096];

    /* Without --config: the agent's, if there is one to be asked. */
    bool named = d->config_file != NULL;
    if (named)
        load_config(d);
    d->place.admin = d->place.socket != NULL ? d->place.socket : d->config != NULL ? d->config->listen.admin : "/run/tollgate/admin.sock";
    msgpack_unpacked_init(&held);
    ask_agent(d, &held);
    if (!named) {
        snprintf(own, sizeof own, "%.*s", d->agent ? (int)ctl_text(&d->status, "config").n : 0, d->agent ? ctl_text(&d->status, "config").p : "");
        d->config_file = own[0] == '/' ? own : "/etc/tollgate/tollgate.yaml";
        load_config(d);
    }
    doctor_agent(d);
    doctor_clock(d);
    if (d->config != NULL) {
        d->place.file = d->config->ledger.file;
        doctor_haproxy(d);
        doctor_sockets(d);
        doctor_ledger(d);
        doctor_secrets(d);
        doctor_certificates(d);
        doctor_prices(d);
        if (!d->offline)
            doctor_network(d);
    }
    if (d->json)
        print_json(d);
    else
        print_people(d);
    msgpack_unpacked_destroy(&held);
}

static void findings_free(struct doctor *d)
{
    for (struct doctor_finding *f = d->findings, *next; f != NULL; f = next) {
        next = f->next;
        free(f->subject);
        free(f->fix);
        free(f->text);
        free(f);
    }
}

int ctl_doctor(int argc, char **argv)
{
    struct doctor d = { .haproxy_program = "haproxy", .now_us = clock_wall_us() };
    bool help = false;
    const struct ctl_arg args[] = {
        { "--config", &d.config_file, NULL }, { "--socket", &d.place.socket, NULL }, { "--haproxy-program", &d.haproxy_program, NULL },
        { "--offline", NULL, &d.offline }, { "--json", NULL, &d.json }, { "--help", NULL, &help } };

    d.last = &d.findings;
    if (!ctl_args(argc, argv, args, sizeof args / sizeof *args, d.haproxy, HAPROXY_FILES_MAX, &d.haproxy_count))
        return CTL_USAGE;
    if (help)
        return ctl_help(stdout, "doctor");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    look(&d);
    curl_global_cleanup();
    findings_free(&d);
    config_free(d.place.config);
    return d.counts[DOCTOR_FAILURE] > 0 ? 2 : d.counts[DOCTOR_WARNING] > 0 ? 1 : 0;
}
