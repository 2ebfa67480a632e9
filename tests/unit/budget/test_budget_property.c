/* The engine against a model that only knows rows. Random limits, requests, settlements, corrections, crashes (the engine is dropped and
 * rebuilt from the rows, as from a ledger), reloads and clock steps. After each step: what was allowed fits, what was refused does not,
 * and (every few steps) the balances of all accounts equal the sums of their rows. A failure is shrunk to few steps and printed.
 *
 * TOLLGATE_SEED=n adds a seed, TOLLGATE_RUNS=n changes the number of runs. */
#include "budget_model.h"

static const char *const pools[][4] = {
    { "acme", "acme", "acme", "umbrella" }, { "red", "red", "blue", "" }, { "ann", "bob", "cy", "ann" }, { "cli", "web", "cli", "" },
    { "100", "200", "100", "200" }, { "chat", "code", "chat", "chat" }, { "", "", "", "" },
};
static const char *const models[] = { "m1", "m2", "m1", "m3" }, *const providers[] = { "p1", "p2", "p1", "p3" };

static bool check_balances(struct world *w)
{
    struct arena *arena = arena_new(65536);
    struct budget_view *v;
    size_t n, cursor = 0, seen = 0, holds = 0;
    struct budget_stats st;
    bool ok = true;
    do {
        if (budget_list(w->b, w->wall, w->mono, 7, &cursor, arena, &v, &n) != 0)
            ok = fail_with(w, "out of memory");
        for (size_t i = 0; ok && i < n; i++, seen++) {
            int l = 0;
            char account[64] = "";
            int64_t used, held;
            while (l < LIMITS && strcmp(menu[l].name, v[i].state.limit) != 0)
                l++;
            if (strcmp(menu[l].level, "global") != 0)
                sscanf(memchr(v[i].subject.p, '=', v[i].subject.n), "=%63[^ ]", account);
            if (menu[l].within_level && memchr(account, '=', strlen(account)))
                account[0] = '\0';
            sums(w, l, account, &used, &held);
            if (menu[l].kind == M_BUCKET)
                ok = bucket_bound(w, l, account) &&
                     (v[i].state.held == held || fail_with(w, "bucket %s of %s: held %" PRId64 ", rows say %" PRId64, menu[l].name, account,
                                                            v[i].state.held, held));
            else if (v[i].state.used != used || v[i].state.held != held)
                ok = fail_with(w, "%s of \"%s\": used %" PRId64 " held %" PRId64 ", rows say %" PRId64 " and %" PRId64, menu[l].name,
                               account, v[i].state.used, v[i].state.held, used, held);
        }
    } while (ok && cursor);
    for (size_t i = 0; i < w->count; i++)
        holds += w->rows[i].state == OPEN;
    budget_stats_get(w->b, &st);
    if (ok && st.holds != holds)
        ok = fail_with(w, "%" PRIu64 " holds are open, rows say %zu", st.holds, holds);
    arena_free(arena);
    return ok;
}

/* ---- the engine's surroundings ---------------------------------------------------------------------------------------------- */

struct subject_parts {
    struct identity who;
    struct target t[2];
    struct budget_subjects s;
};

/* `only` is -1 for the request as it was planned, or the leg that a ledger row names. */
static const struct budget_subjects *subjects(struct subject_parts *p, const struct row *r, int only)
{
    p->who = (struct identity){ .organization = slice_cstr(r->v[0]), .team = slice_cstr(r->v[1]), .user = slice_cstr(r->v[2]),
                                .application = slice_cstr(r->v[3]), .cost_center = slice_cstr(r->v[4]) };
    for (int leg = 0; leg < 2; leg++)
        p->t[leg] = (struct target){ .model = slice_cstr(r->model[leg]), .provider = slice_cstr(r->provider[leg]) };
    p->s = (struct budget_subjects){ &p->who, slice_cstr(r->v[5]), &p->t[only > 0], only < 0 && r->legs == 2 ? &p->t[1] : NULL };
    return &p->s;
}

static void options(const struct world *w, struct budget_limit *l, struct budget_scope *within, const char **values, char (*text)[48],
                    struct budget_options *o)
{
    unsigned n = 0;
    for (int i = 0; i < LIMITS; i++) {
        const struct menu *m = &menu[i];
        if (!w->on[i])
            continue;
        int64_t shown = m->u == BUDGET_USD ? w->amount[i] / CENT : w->amount[i];
        snprintf(text[i], sizeof text[i], m->u == BUDGET_USD ? "%" PRId64 ".%02" PRId64 : "%" PRId64, m->u == BUDGET_USD ? shown / 100 : shown,
                 shown % 100);
        values[i] = m->within_value;
        within[i] = (struct budget_scope){ .level = m->within_level, .match = &values[i], .match_count = 1 };
        l[n++] = (struct budget_limit){ .name = m->name, .scope = { .level = m->level }, .within = &within[i],
                                        .within_count = m->within_level != NULL, .unit = m->unit, .window = m->window, .timezone = m->zone,
                                        .action = m->action, .amount = m->rate ? m->rate : text[i], .burst = m->rate ? text[i] : NULL };
    }
    *o = (struct budget_options){ .limits = l, .limits_count = n };
}

static int by_decided(const void *a, const void *b)
{
    const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
    return x->decided < y->decided ? -1 : x->decided > y->decided ? 1 : x < y ? -1 : 1;
}

static struct budget_use over(const struct budget_use *u, const struct budget_use *hold)
{
    return (struct budget_use){ u->nano > hold->nano ? u->nano - hold->nano : 0, u->tokens > hold->tokens ? u->tokens - hold->tokens : 0, 0 };
}

/* What the ledger would give: settled rows by slot and one by one, then the open ones. A ledger row names one target: requests with two
 * settled legs are given as two, of which one counts as the request. */
static bool load(struct world *w, bool holds)
{
    struct row **sorted = calloc(w->count + 1, sizeof *sorted);
    struct budget_lookback look;
    struct subject_parts p;
    bool ok = true;
    budget_lookback(w->b, &look);
    for (size_t i = 0; i < w->count; i++)
        sorted[i] = &w->rows[i];
    qsort(sorted, w->count, sizeof *sorted, by_decided);
    for (size_t i = 0; ok && i < w->count; i++) {
        struct row *r = sorted[i];
        for (int leg = 0; ok && r->state == ENDED && leg < r->legs; leg++) {
            struct budget_over o = { over(&r->actual[leg], &r->hold), r->ended_wall };
            int64_t slot = floor_to(r->decided, BUDGET_SLOT_US);
            subjects(&p, r, leg);
            if (slot >= look.alias_slots_from_us)
                ok = budget_load_alias_slot(w->b, &p.s, slot, &r->actual[leg]) == 0;
            p.s.alias = SLICE_NONE; /* roll-ups do not know it */
            if (ok && slot >= look.slots_from_us)
                ok = budget_load_slot(w->b, &p.s, slot, &r->actual[leg]) == 0;
            if (ok && r->decided >= look.events_from_us)
                ok = budget_load_event(w->b, subjects(&p, r, leg), r->decided, &r->actual[leg], &o) == 0;
        }
    }
    for (size_t i = 0; ok && holds && i < w->count; i++)
        if (sorted[i]->state == OPEN)
            ok = budget_load_hold(w->b, subjects(&p, sorted[i], -1), sorted[i]->decided, &sorted[i]->hold, &sorted[i]->id) == 0;
    free(sorted);
    budget_load_done(w->b, w->wall, w->mono);
    return ok || fail_with(w, "out of memory");
}

static int64_t bucket_left(struct world *w, int l, const struct row *r)
{
    struct arena *arena = arena_new(8192);
    struct subject_parts p;
    struct budget_view *v;
    size_t n;
    int64_t left = -1;
    if (budget_list_for(w->b, subjects(&p, r, -1), w->wall, w->mono, arena, &v, &n) == 0)
        for (size_t i = 0; i < n; i++)
            if (strcmp(v[i].state.limit, menu[l].name) == 0)
                left = v[i].state.left;
    arena_free(arena);
    return left;
}

/* The clock of a new engine is the wall clock as it is; rows dated ahead of it count as now. */
static void redate(struct world *w)
{
    w->eff = w->wall;
    for (size_t i = 0; i < w->count; i++)
        if (w->rows[i].decided > w->wall)
            w->rows[i].decided = w->wall;
}

static bool crash(struct world *w)
{
    struct budget_limit l[LIMITS];
    struct budget_scope within[LIMITS];
    const char *values[LIMITS];
    char text[LIMITS][48], why[256];
    struct budget_options o;
    int64_t before[LIMITS][8];
    bool compare = w->mono >= w->trusted_mono && w->wall == w->eff;
    size_t probes = w->count < 8 ? w->count : 8;
    for (int i = 0; i < LIMITS; i++)
        for (size_t k = 0; w->on[i] && menu[i].kind == M_BUCKET && k < probes; k++)
            before[i][k] = bucket_left(w, i, &w->rows[w->count - 1 - k]);
    budget_free(w->b);
    redate(w);
    options(w, l, within, values, text, &o);
    w->b = budget_new(&o, w->wall, w->mono, why, sizeof why);
    if (!w->b)
        return fail_with(w, "budget_new: %s", why);
    if (!load(w, true))
        return false;
    for (int i = 0; i < LIMITS; i++) {
        if (menu[i].kind != M_BUCKET)
            continue;
        if (!compare)
            w->epoch[i] = w->mono + 1;
        for (size_t k = 0; compare && w->on[i] && w->mono >= w->settled_in[i] && k < probes; k++) {
            int64_t after = bucket_left(w, i, &w->rows[w->count - 1 - k]);
            if (after > before[i][k])
                return fail_with(w, "bucket %s had %" PRId64 " left before the crash and has %" PRId64, menu[i].name, before[i][k], after);
        }
        /* A rebuilt bucket may be lower than need be, until it has been full: the next rebuild is not held to that. */
        w->settled_in[i] = w->mono + 6 * HOUR;
    }
    return true;
}

static bool reload(struct world *w, const struct step *s)
{
    static const int scale[] = { 100, 100, 60, 150 };
    struct budget_limit l[LIMITS];
    struct budget_scope within[LIMITS];
    const char *values[LIMITS];
    char text[LIMITS][48], why[256];
    struct budget_options o;
    unsigned fresh;
    uint32_t pool = s->b;
    for (int i = 0; i < LIMITS; i++, pool = pool >> 2 | pool << 30) {
        bool on = (s->a >> i & 1) || (s->c >> i & 1);
        int64_t amount = unit_amount(&menu[i], menu[i].base * scale[pool & 3] / 100);
        if (on != w->on[i] || amount != w->amount[i])
            w->epoch[i] = w->mono + 1, w->settled_in[i] = w->mono + 6 * HOUR;
        w->on[i] = on;
        w->amount[i] = amount;
    }
    options(w, l, within, values, text, &o);
    if (budget_reload(w->b, &o, w->wall, w->mono, &fresh, why, sizeof why) != 0)
        return fail_with(w, "budget_reload: %s", why);
    return fresh == 0 || load(w, false);
}

static bool rebase_if_far_ahead(struct world *w)
{
    if (budget_clock_lag(w->b, w->wall) != w->eff - w->wall)
        return fail_with(w, "the clock's lag is wrong");
    if (w->eff - w->wall < DAY)
        return true;
    redate(w);
    budget_rebase(w->b, w->wall, w->mono);
    return load(w, false);
}

/* ---- the steps ------------------------------------------------------------------------------------------------------------- */

static struct row *choose(struct world *w, uint32_t n, int state)
{
    size_t found = 0;
    for (size_t i = 0; i < w->count; i++)
        found += w->rows[i].state == state;
    if (!found)
        return NULL;
    n %= found;
    for (size_t i = 0;; i++)
        if (w->rows[i].state == state && n-- == 0)
            return &w->rows[i];
}

/* Everything in force has room for `r`, which is not among the rows yet; else the first limit that has not. Buckets are judged elsewhere. */
static int model_refuses(const struct world *w, const struct row *r, const struct budget_use *need, int only)
{
    for (int l = 0; l < LIMITS; l++) {
        const struct menu *m = &menu[l];
        if (!w->on[l] || m->action || m->kind == M_BUCKET || (only >= 0 && only != l))
            continue;
        for (int leg = 0; leg < (by_target(m) ? r->legs : 1); leg++) {
            const char *account = row_value(r, m->level, leg);
            int64_t used, held;
            if (!row_legs(r, m, account))
                continue;
            sums(w, l, account, &used, &held);
            if (pick(need, m->u) > 0 && used + held + pick(need, m->u) > w->amount[l])
                return l;
        }
    }
    return -1;
}

static int limit_named(const char *name)
{
    for (int l = 0; l < LIMITS; l++)
        if (strcmp(menu[l].name, name) == 0)
            return l;
    return -1;
}

static bool check_refusal(struct world *w, const struct row *r, const struct budget_answer *a)
{
    int l = limit_named(a->refused.state.limit);
    if (a->refused.asked <= a->refused.state.left || l < 0)
        return fail_with(w, "%s refused %" PRId64 " with %" PRId64 " left", a->refused.state.limit, a->refused.asked, a->refused.state.left);
    if (menu[l].kind != M_BUCKET && model_refuses(w, r, &r->hold, l) != l)
        return fail_with(w, "%s refused what fits", menu[l].name);
    return true;
}

static void fill_row(struct row *r, const struct step *s)
{
    *r = (struct row){ .legs = 1 + (s->a >> 30 & 1) };
    for (int i = 0; i < 7; i++)
        r->v[i] = pools[i][s->a >> (2 * i) & 3];
    for (int leg = 0; leg < 2; leg++) {
        r->model[leg] = models[s->a >> (14 + 2 * leg) & 3];
        r->provider[leg] = providers[s->a >> (18 + 2 * leg) & 3];
    }
    r->hold = (struct budget_use){ (int64_t)(s->b % 500) * CENT + s->b % 7, s->b / 500 % 3000, 1 };
}

static bool reserve(struct world *w, const struct step *s)
{
    struct subject_parts p;
    struct budget_answer a;
    struct row r;
    if (w->count == ROWS)
        return true;
    fill_row(&r, s);
    struct budget_ask q = { .subjects = *subjects(&p, &r, -1) };
    if (s->c % 4 == 0) { /* half of it is output, at a tenth of a cent a token */
        int64_t output = r.hold.nano / 2 / (CENT / 10);
        q.clamp = (struct budget_clamp){ output, 5, 1, r.hold.nano - output * (CENT / 10), r.hold.tokens, CENT / 10 * 1000 };
        r.hold.tokens += output;
    }
    q.hold = r.hold;
    r.mono = w->mono;
    r.decided = w->eff;
    enum budget_verdict verdict = budget_reserve(w->b, &q, w->wall, w->mono, &r.id, &a);
    if (verdict == BUDGET_REFUSED)
        return check_refusal(w, &r, &a);
    if (verdict != BUDGET_ALLOWED && verdict != BUDGET_CLAMPED)
        return fail_with(w, "verdict %d", (int)verdict);
    int l = model_refuses(w, &r, &a.held, -1);
    if (l >= 0)
        return fail_with(w, "allowed %" PRId64 " above the limit %s", pick(&a.held, menu[l].u), menu[l].name);
    if (verdict == BUDGET_CLAMPED) {
        l = limit_named(a.clamped_by.limit);
        struct budget_use more = a.held;
        more.nano += q.clamp.pico_per_output / 1000;
        more.tokens++;
        if (a.output_ceiling < 5 || a.output_ceiling >= q.clamp.ceiling ||
            (menu[l].kind != M_BUCKET && model_refuses(w, &r, &more, l) != l))
            return fail_with(w, "clamped to %" PRId64 " by %s without need", a.output_ceiling, menu[l].name);
    }
    r.hold = a.held;
    w->rows[w->count++] = r;
    for (l = 0; l < LIMITS; l++)
        if (w->on[l] && menu[l].kind == M_BUCKET && !bucket_bound(w, l, row_value(&r, menu[l].level, 0)))
            return false;
    return true;
}

static bool settle(struct world *w, const struct step *s, bool release)
{
    struct row *r = choose(w, s->a, OPEN);
    if (!r)
        return true;
    bool late = w->eff - r->decided > 30 * MIN || w->mono - r->mono > 30 * MIN;
    unsigned share = s->b % 8 == 0 && !late ? 130 : s->b % 101; /* per cent of the hold; sometimes the provider says more */
    int served = r->legs == 2 && s->c % 3 == 0;
    struct budget_actual actual = { .primary = { 0, 0, 0 } };
    r->actual[served] = (struct budget_use){ r->hold.nano / 100 * share, r->hold.tokens * share / 100, 1 };
    if (release)
        r->actual[served] = (struct budget_use){ 0, 0, 0 };
    actual.primary = r->actual[0];
    actual.fallback = r->actual[1];
    bool more = r->actual[served].nano > r->hold.nano || r->actual[served].tokens > r->hold.tokens;
    enum budget_end end = release ? budget_release(w->b, r->id, w->mono) : budget_settle(w->b, r->id, &actual, w->mono);
    r->state = ENDED;
    r->released = release;
    r->ended_mono = w->mono;
    r->ended_wall = w->eff;
    r->dead = r->id;
    return end == (more ? BUDGET_OVERRUN : BUDGET_ENDED) || fail_with(w, "a hold ended with %d", (int)end);
}

static bool correct(struct world *w, const struct step *s)
{
    struct subject_parts p;
    struct row *r = choose(w, s->a, ENDED);
    if (!r || r->released || w->eff - r->decided > 20 * MIN || w->mono - r->mono > 20 * MIN || w->mono < w->trusted_mono)
        return true;
    int served = r->actual[1].requests > 0;
    struct budget_use more = { (int64_t)(s->b % 50) * CENT, s->b % 100, 0 };
    r->actual[served].nano += more.nano;
    r->actual[served].tokens += more.tokens;
    r->corrected.nano += more.nano;
    r->corrected.tokens += more.tokens;
    for (int l = 0; l < LIMITS; l++)
        w->settled_in[l] = w->mono + 6 * HOUR; /* a bucket took it now, its row says earlier */
    budget_adjust(w->b, subjects(&p, r, served), r->decided, &more, w->wall, w->mono);
    return true;
}

static bool advance(struct world *w, const struct step *s)
{
    static const int64_t spans[] = { S, 5 * S, MIN, 7 * MIN, 10 * MIN, 40 * MIN, 5 * HOUR, 26 * HOUR };
    int64_t by = spans[s->a % 8] - (int64_t)(s->b % 900000);
    w->wall += by;
    w->mono += by;
    if (w->wall > w->eff)
        w->eff = w->wall;
    budget_tick(w->b, w->wall, w->mono);
    return true;
}

static bool step_clock(struct world *w, const struct step *s)
{
    static const int64_t spans[] = { -3 * DAY, -HOUR, -MIN, MIN, HOUR, DAY };
    w->wall += spans[s->a % 6];
    if (w->wall > w->eff)
        w->eff = w->wall;
    w->trusted_mono = w->mono + 6 * HOUR;
    budget_tick(w->b, w->wall, w->mono);
    return rebase_if_far_ahead(w);
}

static bool end_twice(struct world *w, const struct step *s)
{
    struct row *r = choose(w, s->a, ENDED);
    struct budget_actual actual = { .primary = { CENT, 1, 1 } };
    if (!r || r->dead.id == 0 || w->b == NULL)
        return true;
    for (size_t i = 0; i < w->count; i++) /* a new engine counts its holds anew */
        if (w->rows[i].state == OPEN && w->rows[i].id.id == r->dead.id)
            return true;
    return budget_settle(w->b, r->dead, &actual, w->mono) == BUDGET_NOT_OPEN || fail_with(w, "a hold ended twice");
}

static bool run_step(struct world *w, const struct step *s)
{
    switch (s->op) {
    case RESERVE:
        return reserve(w, s);
    case SETTLE:
        return settle(w, s, false);
    case RELEASE:
        return settle(w, s, true);
    case ADVANCE:
        return advance(w, s);
    case STEP_CLOCK:
        return step_clock(w, s);
    case CRASH:
        return crash(w) && check_balances(w);
    case RELOAD:
        return reload(w, s) && check_balances(w);
    case TICK:
        budget_tick(w->b, w->wall, w->mono);
        return true;
    case END_TWICE:
        return end_twice(w, s);
    default:
        return correct(w, s);
    }
}

static bool run(const struct step *steps, size_t n, char *why, size_t why_size)
{
    struct world *w = calloc(1, sizeof *w);
    struct budget_options none = { .limits_count = 0 };
    bool ok = true;
    w->wall = w->eff = START;
    w->b = budget_new(&none, START, 0, why, why_size);
    budget_load_done(w->b, START, 0);
    for (int l = 0; l < LIMITS; l++)
        w->zones[l] = budget_zone_load(NULL, menu[l].zone ? menu[l].zone : "UTC", why, why_size);
    for (size_t i = 0; ok && i < n; i++)
        ok = run_step(w, &steps[i]) && (i % 8 != 0 || check_balances(w));
    struct step last = { SETTLE, 0, 50, 1 }; /* every hold ends */
    while (ok && choose(w, 0, OPEN))
        ok = settle(w, &last, false);
    ok = ok && check_balances(w);
    if (!ok)
        snprintf(why, why_size, "%s", w->why);
    for (int l = 0; l < LIMITS; l++)
        budget_zone_free(w->zones[l]);
    budget_free(w->b);
    free(w);
    return ok;
}

/* Delta debugging: drops ever smaller stretches as long as the run still fails. */
static size_t shrink(struct step *steps, size_t n)
{
    struct step *tried = calloc(n, sizeof *tried);
    char why[512];
    for (size_t chunk = n / 2; chunk > 0;) {
        bool dropped = false;
        for (size_t at = 0; at + chunk <= n;) {
            memcpy(tried, steps, at * sizeof *steps);
            memcpy(tried + at, steps + at + chunk, (n - at - chunk) * sizeof *steps);
            if (!run(tried, n - chunk, why, sizeof why)) {
                n -= chunk;
                memcpy(steps, tried, n * sizeof *steps);
                dropped = true;
            } else {
                at += chunk;
            }
        }
        if (!dropped)
            chunk /= 2;
    }
    free(tried);
    return n;
}

static void try_seed(uint64_t seed)
{
    struct step *steps = calloc(STEPS, sizeof *steps);
    char why[512];
    size_t n = STEPS;
    make_steps(seed, steps, n);
    if (!run(steps, n, why, sizeof why)) {
        n = shrink(steps, n);
        run(steps, n, why, sizeof why);
        print_error("seed %" PRIu64 " fails with %zu steps: %s\n", seed, n, why);
        for (size_t i = 0; i < n; i++)
            print_error("  { %s, 0x%08x, 0x%08x, 0x%08x }\n", op_names[steps[i].op], steps[i].a, steps[i].b, steps[i].c);
        free(steps);
        fail();
    }
    free(steps);
}

static void rows_and_balances_agree_whatever_happens(void **state)
{
    const char *runs = getenv("TOLLGATE_RUNS"), *seed = getenv("TOLLGATE_SEED");
    uint64_t n = runs ? strtoull(runs, NULL, 10) : RUNS;
    (void)state;
    if (seed)
        try_seed(strtoull(seed, NULL, 10));
    for (uint64_t i = 1; i <= n; i++)
        try_seed(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_and_balances_agree_whatever_happens) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
