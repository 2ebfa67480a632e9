#include "access/key_budget.h"

#include <ctype.h>
#include <stdio.h>

static const char *const windows[] = { "minute", "hour", "day", "week", "month", "quarter", "year", "total", NULL };

/* Where the window's word begins: behind the last blank or '/'. */
static const char *window_of(const char *text)
{
    const char *at = text + strlen(text);

    while (at > text && isalpha((unsigned char)at[-1]))
        at--;
    for (const char *const *w = windows; at > text && *w != NULL; w++)
        if (strcmp(at, *w) == 0)
            return at;
    return NULL;
}

/* The amount in front of it, without "per", '/' and blanks. */
static struct slice amount_of(const char *text, const char *window)
{
    struct slice s = slice_make(text, (size_t)(window - text));

    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '/'))
        s.n--;
    if (s.n > 4 && memcmp(s.p + s.n - 4, " per", 4) == 0)
        s.n -= 4;
    return s;
}

static enum budget_unit unit_of(struct slice amount)
{
    if (amount.n > 0 && memmem(amount.p, amount.n, "token", 5) != NULL)
        return BUDGET_TOKENS;
    return amount.n > 0 && memmem(amount.p, amount.n, "request", 7) != NULL ? BUDGET_REQUESTS : BUDGET_USD;
}

bool key_budget_parse(const char *text, char out[static KEY_BUDGET_MAX], char *why, size_t why_size)
{
    const char *window = window_of(text);
    char reason[160], amount_text[32];
    int64_t amount;

    if (window == NULL) {
        snprintf(why, why_size, "the budget says no window; write \"$50 per month\", \"1.5M tokens per day\", \"1000 requests per hour\" "
                 "(minute, hour, day, week, month, quarter, year, total)");
        return false;
    }
    struct slice a = amount_of(text, window);
    enum budget_unit unit = unit_of(a);
    if (unit == BUDGET_USD && memchr(a.p, '$', a.n) == NULL && memmem(a.p, a.n, "USD", 3) == NULL) {
        snprintf(why, why_size, "the budget's amount has no unit; write \"$50\", \"1.5M tokens\" or \"1000 requests\"");
        return false;
    }
    if (budget_parse_amount(a, unit, &amount, reason, sizeof reason) != 0) {
        snprintf(why, why_size, "the budget's amount: %s", reason);
        return false;
    }
    const char *word = unit == BUDGET_USD ? "" : unit == BUDGET_TOKENS ? " tokens" : " requests";
    snprintf(out, KEY_BUDGET_MAX, "%s%s %s", budget_format_amount(amount, unit, amount_text, sizeof amount_text), word, window);
    return true;
}

bool key_budget_limit(struct slice kept, struct arena *arena, struct budget_limit *out)
{
    char *text = arena_cstr(arena, kept), *name = arena_alloc(arena, kept.n + 16);
    const char **match = arena_alloc(arena, sizeof *match);
    struct budget_scope *within = arena_zalloc(arena, sizeof *within);
    const char *window = text != NULL ? window_of(text) : NULL;
    size_t n = 0;

    if (window == NULL || name == NULL || match == NULL || within == NULL)
        return false;
    n = (size_t)sprintf(name, "%s", text[0] == '$' ? "key-usd-" : "key-");
    for (const char *p = text + (text[0] == '$'); *p != '\0'; p++)
        name[n++] = *p == ' ' ? '-' : *p;
    name[n] = '\0';
    struct slice amount = amount_of(text, window);
    char *amount_text = arena_cstr(arena, amount);
    match[0] = text;
    *within = (struct budget_scope){ .level = "key_budget", .match = match, .match_count = 1, .shared = true };
    *out = (struct budget_limit){ .name = name, .scope = { .level = "key" }, .within = within, .within_count = 1,
                                  .unit = budget_unit_name(unit_of(amount)), .amount = amount_text, .window = window };
    return amount_text != NULL;
}
