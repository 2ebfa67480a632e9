#include "console/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "console/answers.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_MS = 10000, PERIOD_MAX_S = 400 * 86400, POINTS_MAX = 3000, TEXT_MAX = 256 };

static const struct {
    const char *name;
    answer_fn *answer;
    bool period; /* needs from and to */
    bool steps;  /* needs step */
} answers[] = {
    { "spend", answer_spend, true, true },      { "forecast", answer_forecast, false, false }, { "savings", answer_savings, true, false },
    { "holds", answer_holds, false, false },    { "latency", answer_latency, true, false }, { "trouble", answer_trouble, true, true },     { "requests", answer_requests, true, false },
    { "request", answer_request, false, false },
};

void api_scope(const struct exchange *x, struct question *q)
{
    q->all = x->who.role == CONSOLE_ADMIN;
    q->scope_team = x->who.team;
    q->scope_organization = x->who.organization;
}

/* A whole number; false: the argument is there and is none. Absent: left as it is. */
static bool number_take(struct exchange *x, const char *name, int64_t *out)
{
    const char *text = http_argument(x, name);
    int64_t v = 0;

    if (text == NULL)
        return true;
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 18 || text[n] != '\0')
        return false;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (text[i] - '0');
    *out = v;
    return true;
}

static bool text_take(struct exchange *x, const char *name, const char **out)
{
    *out = http_argument(x, name);
    return *out == NULL || strlen(*out) <= TEXT_MAX;
}

/* NULL: fine; else what is wrong. */
static const char *question_read(struct exchange *x, size_t which, struct question *q)
{
    const char *sort;

    if (!number_take(x, "from", &q->from_s) || !number_take(x, "to", &q->to_s) || !number_take(x, "step", &q->step_s) ||
        !number_take(x, "limit", &q->limit) || !number_take(x, "id", &q->id))
        return "from, to, step, limit and id are whole numbers (from and to in seconds since 1970, step in seconds)";
    if (!text_take(x, "by", &q->by) || !text_take(x, "team", &q->team) || !text_take(x, "model", &q->model) ||
        !text_take(x, "user", &q->user) || !text_take(x, "request_id", &q->request_id) || !text_take(x, "sort", &sort))
        return "texts have at most 256 bytes";
    q->recent = sort != NULL && strcmp(sort, "recent") == 0;
    if ((answers[which].period || q->request_id != NULL) &&
        (q->from_s <= 0 || q->to_s <= q->from_s || q->to_s - q->from_s > PERIOD_MAX_S || q->to_s > 253402300799))
        return "from and to: a period of at most 400 days";
    if (answers[which].steps && (q->step_s < 900 || q->step_s % 900 != 0 || (q->to_s - q->from_s) / q->step_s > POINTS_MAX))
        return "step: a multiple of 900, at most 3000 of them in the period";
    return NULL;
}

static enum MHD_Result answer_send(struct exchange *x, enum answer a, char *text, size_t n, const char *why)
{
    if (a == ANSWER_GIVEN)
        return http_answer(x, MHD_HTTP_OK, "application/json", text, n, NULL);
    free(text);
    if (a == ANSWER_BAD)
        return http_error(x, MHD_HTTP_BAD_REQUEST, why);
    if (a == ANSWER_UNKNOWN)
        return http_error(x, MHD_HTTP_NOT_FOUND, "there is no such request, or none you may see");
    if (a == ANSWER_TOO_LONG)
        return http_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "the ledger is too large to answer this within 10 seconds; ask for a shorter period");
    LOG(LOG_LEVEL_ERROR, "console_question_failed", LOG_CSTR("question", x->path), LOG_CSTR("error", why));
    return http_error(x, MHD_HTTP_INTERNAL_SERVER_ERROR, "the ledger could not be read; the agent's log says why");
}

static enum MHD_Result ledger_answer(struct exchange *x, size_t which)
{
    struct question q = { .limit = 20, .step_s = 3600, .now_us = clock_wall_us() };
    char *text = NULL, why[256] = "cannot be opened";
    const char *wrong = question_read(x, which, &q);
    enum answer a = ANSWER_FAILED;
    size_t n = 0;

    if (wrong != NULL)
        return http_error(x, MHD_HTTP_BAD_REQUEST, wrong);
    api_scope(x, &q);
    FILE *out = open_memstream(&text, &n);
    if (out == NULL)
        return MHD_NO;
    sqlite3 *db = data_take(x->c->data, ANSWER_MS);
    if (db != NULL) {
        a = answers[which].answer(db, &q, out, why, sizeof why);
        data_give(x->c->data, db);
    }
    if (fclose(out) != 0 && a == ANSWER_GIVEN)
        a = ANSWER_FAILED;
    return answer_send(x, a, text, n, why);
}

static enum MHD_Result own_answer(struct exchange *x, bool budgets)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    if (out == NULL)
        return MHD_NO;
    if (budgets) {
        x->c->o.budgets(x->c->o.user, &x->who, out);
    } else {
        fputs("{\"user\":", out);
        json_text(out, x->who.user[0] != '\0' ? x->who.user : x->who.subject);
        fputs(",\"team\":", out);
        json_text(out, x->who.team);
        fputs(",\"organization\":", out);
        json_text(out, x->who.organization);
        fprintf(out, ",\"role\":\"%s\",\"now\":%lld,\"version\":\"%s\"}", x->who.role == CONSOLE_ADMIN ? "admin" : "viewer",
                (long long)(clock_wall_us() / 1000000), TOLLGATE_VERSION);
    }
    if (fclose(out) != 0) {
        free(text);
        return MHD_NO;
    }
    return http_answer(x, MHD_HTTP_OK, "application/json", text, n, NULL);
}

enum MHD_Result api_handle(struct exchange *x, const char *name)
{
    const char *site = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Sec-Fetch-Site");

    if (!x->signed_in)
        return http_error(x, MHD_HTTP_UNAUTHORIZED, "sign in first");
    if (site != NULL && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return http_error(x, MHD_HTTP_FORBIDDEN, "only the console's own page may ask");
    if (strcmp(name, "me") == 0 || strcmp(name, "budgets") == 0)
        return own_answer(x, name[0] == 'b');
    if (strcmp(name, "live") == 0)
        return live_handle(x);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (strcmp(name, answers[i].name) == 0)
            return ledger_answer(x, i);
    return http_error(x, MHD_HTTP_NOT_FOUND, "there is no such question");
}
