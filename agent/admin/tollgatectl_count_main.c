#include "admin/tollgatectl.h"
#include "admin/tollgatectl_args.h"
#include "admin/tollgatectl_count.h"
#include "budget/options.h"
#include "config/config.h"
#include "dialect/dialect.h"
#include "decide/preview.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 64 << 20 };

static char *input_read(const char *file, size_t *n)
{
    FILE *f = file == NULL || strcmp(file, "-") == 0 ? stdin : fopen(file, "rbe");
    size_t cap = 65536;
    char *p = f == NULL ? NULL : malloc(cap);

    *n = 0;
    while (p != NULL) {
        *n += fread(p + *n, 1, cap - *n, f);
        if (ferror(f)) { /* a directory, say */
            free(p);
            p = NULL;
            break;
        }
        if (*n < cap)
            break;
        char *more = cap < BODY_MAX ? realloc(p, cap *= 2) : NULL;
        if (more == NULL) {
            free(p);
            p = NULL;
            errno = EFBIG;
        } else {
            p = more;
        }
    }
    if (p == NULL)
        fprintf(stderr, "tollgatectl: cannot read %s: %s\n", file == NULL ? "standard input" : file, strerror(errno));
    if (f != NULL && f != stdin)
        fclose(f);
    return p;
}

static const char *part_name(const struct ask_part *p)
{
    static const char *const places[] = { "role", "name", "content", "tool call", "tool result", "tools", "schema", "system", "prompt",
                                          "prediction", "other" };
    switch (p->kind) {
    case PART_IMAGE:
        return "image";
    case PART_AUDIO:
        return "audio";
    case PART_FILE:
        return "file";
    case PART_TOKENS:
        return "tokens";
    case PART_UNKNOWN:
        return "not visible";
    default:
        return (unsigned)p->place < sizeof places / sizeof *places ? places[p->place] : "other";
    }
}

static const char *const exactness_names[] = { "exact", "documented", "estimated" };

/* As a limit in tokens sees it. */
static int64_t input_held(const struct assessment *s)
{
    int64_t other = s->fallback != NULL ? s->fallback_estimate.input_bound : 0;
    return s->estimate.input_bound > other ? s->estimate.input_bound : other;
}

static bool parts_print(const struct preview *p, struct token_counter *counter, bool json)
{
    const struct runtime_target *t = p->s.primary;
    const struct ask *ask = &p->s.ask;

    if (json) {
        printf("{\"model\":");
        ctl_print_json_text(stdout, ask->model.p, (uint32_t)ask->model.n);
        printf(",\"encoding\":\"%s\",\"parts\":[", t->rules.encoding);
    } else {
        printf("model ");
        ctl_put_text(stdout, ask->model, 0);
        printf(", encoding %s\n%-8s %-12s %10s %10s\n", t->rules.encoding, "MESSAGE", "PART", "TOKENS", "HELD");
    }
    for (size_t i = 0; i < ask->part_count; i++) {
        struct token_estimate e;
        const struct ask_part *part = ask_part_at(ask, i);
        if (token_estimate_part(counter, t->tokenizer, &t->rules, ask, i, &e) != 0)
            return false;
        if (json)
            printf("%s{\"message\":%" PRId64 ",\"part\":\"%s\",\"tokens\":%" PRId64 ",\"held\":%" PRId64 "}", i > 0 ? "," : "",
                   part->message == UINT32_MAX ? INT64_C(-1) : (int64_t)part->message, part_name(part), e.input, e.input_bound);
        else if (part->message == UINT32_MAX)
            printf("%-8s %-12s %10" PRId64 " %10" PRId64 "\n", "-", part_name(part), e.input, e.input_bound);
        else
            printf("%-8u %-12s %10" PRId64 " %10" PRId64 "\n", part->message, part_name(part), e.input, e.input_bound);
    }
    return true;
}

/* NULL also where the same provider is only asked once more. */
static const struct route_target *fallback_of(const struct assessment *s)
{
    return s->again ? NULL : s->choice.fallback;
}

static void target_print_json(const char *member, const struct route_target *r)
{
    printf(",\"%s\":", member);
    if (r == NULL) {
        printf("null");
        return;
    }
    printf("{\"provider\":");
    ctl_print_json_text(stdout, r->target.group.p, (uint32_t)r->target.group.n);
    printf(",\"model\":");
    ctl_print_json_text(stdout, r->target.model.p, (uint32_t)r->target.model.n);
    printf("}");
}

static void total_print_json(const struct preview *p)
{
    const struct assessment *s = &p->s;

    printf("],\"input\":%" PRId64 ",\"input_held\":%" PRId64 ",\"input_built_in\":%" PRId64 ",\"input_built_in_held\":%" PRId64
           ",\"exactness\":\"%s\",\"output_ceiling\":%" PRId64 ",\"choices\":%" PRId64,
           s->estimate.input, input_held(s), p->built_in.input, p->built_in.input_bound, exactness_names[s->estimate.exactness], s->ceiling,
           s->ask.choices);
    target_print_json("primary", s->choice.primary);
    target_print_json("fallback", fallback_of(s));
    if (p->priced)
        printf(",\"hold_nano\":%" PRId64 ",\"hold_most_nano\":%" PRId64, s->hold_nano, p->most_nano);
    printf("}\n");
}

static void hold_print(const struct preview *p)
{
    const struct route_choice *c = &p->s.choice;
    const struct route_target *fallback = fallback_of(&p->s);
    char held[32], most[32];

    if (!p->priced) {
        printf("hold: none: ");
        ctl_put_text(stdout, p->s.no.message, 0); /* it quotes the request */
        putchar('\n');
        return;
    }
    printf("hold: %s", budget_format_amount(p->s.hold_nano, BUDGET_USD, held, sizeof held));
    if (p->depends) {
        printf(" at most: which of the targets it goes to depends on who asks, or on what was measured\n");
        return;
    }
    printf(" (%.*s %.*s", SLICE_FMT(c->primary->target.group), SLICE_FMT(c->primary->target.model));
    if (fallback != NULL)
        printf(", then %.*s %.*s", SLICE_FMT(fallback->target.group), SLICE_FMT(fallback->target.model));
    printf(")\n");
    if (p->most_nano > p->s.hold_nano)
        printf("hold, when it goes to other targets of the model: up to %s\n",
               budget_format_amount(p->most_nano, BUDGET_USD, most, sizeof most));
}

static void total_print(const struct preview *p)
{
    const struct assessment *s = &p->s;

    printf("%-8s %-12s %10" PRId64 " %10" PRId64 "  (%s, with what wraps the messages)\n", "", "input", p->built_in.input,
           p->built_in.input_bound, exactness_names[s->estimate.exactness]);
    if (s->estimate.input != p->built_in.input || input_held(s) != p->built_in.input_bound)
        printf("%-8s %-12s %10" PRId64 " %10" PRId64 "  (with what was learned, and the fallback's bound where it is higher)\n", "", "reserved",
               s->estimate.input, input_held(s));
    printf("%-8s %-12s %10s %10" PRId64 "  (%" PRId64 " for each of %" PRId64 ")\n", "", "output", "", s->ceiling * s->ask.choices, s->ceiling,
           s->ask.choices);
    hold_print(p);
}

static int preview_print(const struct ctl_options *o, struct preview_options *with)
{
    struct preview p;
    char why[512];
    int rc = CTL_FAILED;

    if (!preview_make(&p, with, why, sizeof why)) {
        fprintf(stderr, "tollgatectl: ");
        if (p.s.no.status > 0)
            fprintf(stderr, "the gateway would answer %d: ", p.s.no.status);
        ctl_put_text(stderr, p.s.no.status > 0 ? p.s.no.message : slice_cstr(why), 0);
        fputc('\n', stderr);
    } else if (parts_print(&p, with->counter, o->json)) {
        if (p.unlearned[0] != '\0')
            fprintf(stderr, "tollgatectl: without what was learned about this model: %s\n", p.unlearned);
        o->json ? total_print_json(&p) : total_print(&p);
        rc = CTL_DONE;
    }
    preview_free(&p);
    return rc;
}

/* By its name, or by the path of a request. */
static bool endpoint_find(const char *text, enum endpoint *out)
{
    if (dialect_endpoint_from_name(slice_cstr(text), out) && *out != ENDPOINT_PASSTHROUGH)
        return true;
    return dialect_endpoint(SLICE_LIT("POST"), slice_cstr(text), out) == DIALECT_MATCH;
}

static int count_body(const struct ctl_options *o, struct tokenizer_set *set, struct token_counter *counter, struct slice body)
{
    struct preview_options with = { .encoding = o->encoding, .tokenizers = set, .counter = counter, .endpoint = ENDPOINT_CHAT, .body = body };
    struct config_errors errors;

    if (o->team != NULL)
        with.team = slice_cstr(o->team);
    if (o->organization != NULL)
        with.organization = slice_cstr(o->organization);
    if (o->endpoint != NULL && !endpoint_find(o->endpoint, &with.endpoint)) {
        fprintf(stderr, "tollgatectl: there is no endpoint %s; known: chat, responses, completions, embeddings, messages, or the request's path\n",
                o->endpoint);
        return CTL_FAILED;
    }
    with.count_only = o->endpoint != NULL && dialect_counts_only(slice_cstr(o->endpoint));
    if (o->encoding != NULL && !ctl_encoding_find(set, o->encoding))
        return CTL_FAILED;
    if (o->config != NULL && (with.config = config_load(o->config, &errors)) == NULL) {
        fputs(errors.text, stderr);
        return CTL_FAILED;
    }
    with.ledger = with.config != NULL ? with.config->ledger.file : NULL;
    int rc = preview_print(o, &with);
    config_free(with.config);
    return rc;
}

int ctl_count(int argc, char **argv)
{
    struct ctl_options o;
    char why[512];
    int rc;

    if (!ctl_options_read("count", argc, argv, true, &o, &rc))
        return rc;
    if (o.raw && (o.team != NULL || o.organization != NULL)) {
        fprintf(stderr, "tollgatectl: --team and --organization go with a request body, not with --raw\n");
        return CTL_USAGE;
    }
    if (!o.raw && (o.path != NULL || o.no_cache)) {
        fprintf(stderr, "tollgatectl: --path and --no-cache go with --raw\n");
        return CTL_USAGE;
    }
    struct tokenizer_set *set = tokenizer_set_open(NULL, why, sizeof why);
    if (set == NULL) {
        fprintf(stderr, "tollgatectl: %s\n", why);
        return CTL_FAILED;
    }
    rc = CTL_FAILED;
    if (o.raw) {
        rc = ctl_count_raw(&o, set);
    } else {
        size_t n = 0;
        struct token_counter *counter = token_counter_new(NULL);
        char *p = input_read(o.file, &n);
        if (p != NULL && counter != NULL)
            rc = count_body(&o, set, counter, slice_make(p, n));
        free(p);
        token_counter_free(counter);
    }
    tokenizer_set_close(set);
    return rc;
}
