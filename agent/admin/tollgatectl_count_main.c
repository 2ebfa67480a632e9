#include "admin/tollgatectl.h"
#include "budget/options.h"
#include "config.h"
#include "config_map.h"
#include "dialect/dialect.h"
#include "tokens/estimate.h"

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

static int count_raw(const struct tokenizer *t, struct token_counter *counter, char *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        size_t end = at;
        while (end < n && p[end] != '\0')
            end++;
        int64_t tokens = token_count_text(counter, t, slice_make(p + at, end - at), NULL);
        if (tokens < 0)
            return 1;
        printf("%" PRId64 "\n", tokens);
        at = end + 1;
    }
    return 0;
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

struct counting {
    struct token_counter *counter;
    const struct tokenizer *tokenizer;
    struct token_rules rules;
    struct ask ask;
    struct token_estimate total;
    int64_t ceiling;
};

static bool parts_print(const struct counting *c, bool json)
{
    if (json) {
        printf("{\"model\":");
        ctl_print_json_text(stdout, c->ask.model.p, (uint32_t)c->ask.model.n);
        printf(",\"encoding\":\"%s\",\"parts\":[", c->rules.encoding);
    } else {
        printf("model ");
        for (size_t i = 0; i < c->ask.model.n; i++) /* a request can name anything: it shall not steer the terminal */
            putchar((unsigned char)c->ask.model.p[i] < ' ' || c->ask.model.p[i] == 127 ? '?' : c->ask.model.p[i]);
        printf(", encoding %s\n", c->rules.encoding);
    }
    if (!json)
        printf("%-8s %-12s %10s %10s\n", "MESSAGE", "PART", "TOKENS", "HELD");
    for (size_t i = 0; i < c->ask.part_count; i++) {
        struct token_estimate e;
        const struct ask_part *p = &c->ask.parts[i];
        if (token_estimate_part(c->counter, c->tokenizer, &c->rules, &c->ask, i, &e) != 0)
            return false;
        if (json)
            printf("%s{\"message\":%" PRId64 ",\"part\":\"%s\",\"tokens\":%" PRId64 ",\"held\":%" PRId64 "}", i > 0 ? "," : "",
                   p->message == UINT32_MAX ? INT64_C(-1) : (int64_t)p->message, part_name(p), e.input, e.input_bound);
        else if (p->message == UINT32_MAX)
            printf("%-8s %-12s %10" PRId64 " %10" PRId64 "\n", "-", part_name(p), e.input, e.input_bound);
        else
            printf("%-8u %-12s %10" PRId64 " %10" PRId64 "\n", p->message, part_name(p), e.input, e.input_bound);
    }
    return true;
}

static void total_print(const struct counting *c, bool json, int64_t hold_nano, const char *unpriced)
{
    static const char *const sure[] = { "exact", "documented", "estimated" };
    char dollars[32];

    if (json) {
        printf("],\"input\":%" PRId64 ",\"input_held\":%" PRId64 ",\"exactness\":\"%s\",\"output_ceiling\":%" PRId64 ",\"choices\":%" PRId64,
               c->total.input, c->total.input_bound, sure[c->total.exactness], c->ceiling, c->ask.choices);
        if (unpriced == NULL)
            printf(",\"hold_nano\":%" PRId64, hold_nano);
        printf("}\n");
        return;
    }
    printf("%-8s %-12s %10" PRId64 " %10" PRId64 "  (%s, with what wraps the messages)\n", "", "input", c->total.input,
           c->total.input_bound, sure[c->total.exactness]);
    printf("%-8s %-12s %10s %10" PRId64 "  (%" PRId64 " for each of %" PRId64 ")\n", "", "output", "", c->ceiling * c->ask.choices, c->ceiling,
           c->ask.choices);
    if (unpriced != NULL)
        printf("hold: %s\n", unpriced);
    else
        printf("hold: %s\n", budget_format_amount(hold_nano, BUDGET_USD, dollars, sizeof dollars));
}

/* Without a configuration the model's own name and the built-in OpenAI prices are taken. */
static const char *hold_find(const struct ctl_options *o, const struct config *config, struct counting *c, int64_t *nano, char *why,
                             size_t why_size)
{
    static const struct config none;
    const struct config_model *m = NULL;
    const char *provider = "openai", *result = NULL;
    struct slice model = c->ask.model;
    (void)o;

    for (unsigned i = 0; config != NULL && i < config->models_count; i++)
        if (slice_eq_cstr(c->ask.model, config->models[i].name))
            m = &config->models[i];
    if (config != NULL && m == NULL)
        return "the configuration has no such model";
    struct price_table *t = config_prices(config != NULL ? config : &none, why, why_size);
    if (t == NULL)
        return why;
    if (m != NULL) {
        model = slice_cstr(m->targets[0].model);
        for (unsigned i = 0; i < config->providers_count; i++)
            if (strcmp(config->providers[i].name, m->targets[0].provider) == 0)
                provider = config->providers[i].price_as;
        if (c->ask.max_output < 0 || c->ask.max_output > m->max_output)
            c->ceiling = m->max_output;
    }
    const struct model_price *p = price_lookup(t, slice_cstr(provider), model, NULL);
    if (c->ceiling < 0)
        c->ceiling = p != NULL && p->output_limit > 0 ? p->output_limit : 4096;
    struct price_ask ask = { .input = c->total.input_bound, .output = c->ceiling, .choices = c->ask.choices,
                             .kinds = 1u << PRICE_INPUT | 1u << PRICE_CACHED | 1u << PRICE_OUTPUT | 1u << PRICE_REASONING };
    if (p == NULL || p->status != PRICE_OK || price_hold(p, &ask, nano) != PRICE_DONE)
        result = "the price table has no price for it";
    price_table_unref(t);
    return result;
}

static int count_body(const struct ctl_options *o, struct tokenizer_set *set, struct counting *c, struct slice body)
{
    struct config_errors errors;
    struct config *config = NULL;
    struct refusal why = { .status = 0 };
    enum endpoint endpoint = ENDPOINT_CHAT;
    char reason[512] = "";
    int64_t nano = 0;
    int rc = 1;

    struct arena *arena = arena_new(65536);
    if (arena == NULL)
        return 1;
    if (o->endpoint != NULL && dialect_endpoint(SLICE_LIT("POST"), slice_cstr(o->endpoint), &endpoint) != DIALECT_MATCH) {
        fprintf(stderr, "tollgatectl: there is no endpoint %s\n", o->endpoint);
        goto out;
    }
    if (o->config != NULL && (config = config_load(o->config, &errors)) == NULL) {
        fputs(errors.text, stderr);
        goto out;
    }
    bool count_only = o->endpoint != NULL && dialect_counts_only(slice_cstr(o->endpoint));
    if ((count_only ? dialect_parse_count(body, arena, &c->ask, &why) : dialect_parse(endpoint, body, arena, &c->ask, &why)) != 0) {
        fprintf(stderr, "tollgatectl: the gateway would answer %d: %.*s\n", why.status, SLICE_FMT(why.message));
        goto out;
    }
    struct slice model = c->ask.model;
    for (unsigned i = 0; config != NULL && i < config->models_count; i++)
        if (slice_eq_cstr(c->ask.model, config->models[i].name))
            model = slice_cstr(config->models[i].targets[0].model);
    token_rules_for_model(model, &c->rules);
    for (unsigned i = 0; config != NULL && i < config->models_count; i++)
        if (slice_eq_cstr(c->ask.model, config->models[i].name) && config->models[i].encoding != NULL)
            c->rules.encoding = config->models[i].encoding;
    if (o->encoding != NULL)
        c->rules.encoding = o->encoding;
    c->tokenizer = tokenizer_set_find(set, slice_cstr(c->rules.encoding));
    if (c->tokenizer == NULL) {
        fprintf(stderr, "tollgatectl: there is no encoding %s\n", c->rules.encoding);
        goto out;
    }
    bool unbounded = false;
    c->ceiling = c->ask.max_output;
    if (token_estimate_ask(c->counter, c->tokenizer, &c->rules, &c->ask, &c->total, &unbounded) != 0) {
        fprintf(stderr, "tollgatectl: %s\n", unbounded ? "the request refers to content whose size cannot be seen: it would be refused"
                                                       : "out of memory");
        goto out;
    }
    const char *unpriced = hold_find(o, config, c, &nano, reason, sizeof reason);
    if (parts_print(c, o->json)) {
        total_print(c, o->json, nano, unpriced);
        rc = 0;
    }
out:
    config_free(config);
    arena_free(arena);
    return rc;
}

int ctl_count(int argc, char **argv)
{
    struct ctl_options given, *o = &given;
    char why[512];
    size_t n = 0;
    int rc = 1;

    if (!ctl_options_read("count", argc, argv, true, o, &rc))
        return rc;
    rc = 1;

    struct tokenizer_set *set = tokenizer_set_open(NULL, why, sizeof why);
    struct counting c = { .counter = token_counter_new(NULL) };
    char *p = input_read(o->file, &n);
    if (set == NULL) {
        fprintf(stderr, "tollgatectl: %s\n", why);
    } else if (p != NULL && c.counter != NULL && o->raw) {
        const struct tokenizer *t = tokenizer_set_find(set, slice_cstr(o->encoding != NULL ? o->encoding : "o200k_base"));
        if (t == NULL)
            fprintf(stderr, "tollgatectl: there is no encoding %s; known: o200k_base, cl100k_base, p50k_base, r50k_base, o200k_harmony\n",
                    o->encoding);
        else
            rc = count_raw(t, c.counter, p, n);
    } else if (p != NULL && c.counter != NULL) {
        rc = count_body(o, set, &c, slice_make(p, n));
    }
    free(p);
    token_counter_free(c.counter);
    tokenizer_set_close(set);
    return rc;
}
