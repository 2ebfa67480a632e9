/* What the engine shows: thresholds passed, and its accounts. */
#include "budget/internal.h"

#define HOUR_US (INT64_C(3600) * 1000000)
#define MINUTE_US (INT64_C(60) * 1000000)

int budget_percent(const struct account *a)
{
    int64_t used = account_used(a);
    int highest = 0;
    for (unsigned i = 0; i < a->limit->threshold_count; i++)
        if (a->limit->thresholds[i] > highest && used >= a->limit->passes[i])
            highest = a->limit->thresholds[i];
    return highest;
}

/* What counts as the same crossing, reported once: in the calendar window; ever; within the length of a rolling window. */
static int64_t notice_once_since(const struct budget *b, const struct account *a)
{
    switch (a->limit->kind) {
    case KIND_CALENDAR:
        return a->start;
    case KIND_ROLLING:
        return b->wall - a->limit->roll_us;
    case KIND_TOTAL:
        return 0;
    default:
        return INT64_MAX;
    }
}

/* False: there is no room. The threshold is then looked at again with the account's next change, or by budget_tick. */
static bool notice_put(struct budget *b, const struct account *a, int percent)
{
    if (b->notice_count == NOTICES_MAX) {
        b->stats.notices_lost++;
        return false;
    }
    struct budget_notice *n = &b->notices[(b->notice_first + b->notice_count++) % NOTICES_MAX];
    account_state(b, a, &n->state);
    account_text(a, n->subject, sizeof n->subject);
    n->action = budget_action_name(a->limit->action);
    n->percent = percent;
    n->at_us = b->wall;
    n->once_since_us = notice_once_since(b, a);
    return true;
}

void budget_notice_check(struct budget *b, struct account *a)
{
    const struct limit *l = a->limit;
    int64_t used = account_used(a);
    if (l->loading || l->retired)
        return;
    for (unsigned i = 0; i < l->threshold_count; i++) {
        uint32_t bit = 1u << i;
        if (!(a->crossed & bit) && used >= l->passes[i]) {
            if (notice_put(b, a, l->thresholds[i]))
                a->crossed |= bit;
        } else if (a->crossed & bit && l->kind != KIND_CALENDAR && used < l->passes[i] / 2) {
            a->crossed &= ~bit;
        }
    }
}

bool budget_notice_take(struct budget *b, struct budget_notice *out)
{
    pthread_mutex_lock(&b->lock);
    bool any = b->notice_count > 0;
    if (any) {
        *out = b->notices[b->notice_first];
        b->notice_first = (b->notice_first + 1) % NOTICES_MAX;
        b->notice_count--;
    }
    pthread_mutex_unlock(&b->lock);
    return any;
}

static void view_rate(const struct budget *b, const struct account *a, struct budget_view *v)
{
    const struct limit *l = a->limit;
    v->forecast = -1;
    if (l->kind == KIND_ROLLING) {
        v->start_us = b->wall - l->roll_us;
        v->burn_per_hour = (int64_t)((__int128)v->state.used * HOUR_US / l->roll_us);
    } else if (l->kind == KIND_CALENDAR) {
        int64_t passed_us = b->wall - a->start;
        v->start_us = a->start;
        if (passed_us >= MINUTE_US) {
            v->burn_per_hour = (int64_t)((__int128)v->state.used * HOUR_US / passed_us);
            v->forecast = (int64_t)((__int128)v->state.used * (a->end - a->start) / passed_us);
        }
    }
}

static int view_fill(struct budget *b, struct account *a, struct arena *arena, struct budget_view *v)
{
    char text[512];
    memset(v, 0, sizeof *v);
    account_roll(b, a);
    account_state(b, a, &v->state);
    account_text(a, text, sizeof text);
    v->subject = arena_copy(arena, slice_cstr(text));
    v->action = budget_action_name(a->limit->action);
    v->previous = a->limit->kind == KIND_CALENDAR && a->previous_start != INT64_MIN ? a->previous : -1;
    v->holds = a->holds;
    view_rate(b, a, v);
    return v->subject.p ? 0 : -1;
}

int budget_list_for(struct budget *b, const struct budget_subjects *s, int64_t now_us, int64_t mono_us, struct arena *arena,
                    struct budget_view **out, size_t *count)
{
    struct values v;
    unsigned n = 0;
    values_fill(&v, s);
    *count = 0;
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    int r = budget_collect(b, b->limits, b->limit_count, &v, NULL, &n);
    *out = r == 0 ? arena_alloc(arena, (n + 1) * sizeof **out) : NULL;
    for (unsigned i = 0; *out && r == 0 && i < n; i++)
        r = view_fill(b, b->scratch[i].account, arena, &(*out)[i]);
    pthread_mutex_unlock(&b->lock);
    if (r != 0 || !*out)
        return -1;
    *count = n;
    return 0;
}

/* Chains from *cursor on until `max` accounts are seen; *n of them, *end where to go on. */
static void page(const struct budget *b, size_t cursor, size_t max, size_t *n, size_t *end)
{
    *n = 0;
    *end = cursor;
    while (*end < b->chain_count && *n < max) {
        for (const struct account *a = b->chains[*end]; a; a = a->next)
            *n += !a->limit->retired;
        ++*end;
    }
}

int budget_list(struct budget *b, int64_t now_us, int64_t mono_us, size_t max, size_t *cursor, struct arena *arena,
                struct budget_view **out, size_t *count)
{
    size_t n, end, at = 0;
    int r = 0;
    *count = 0;
    pthread_mutex_lock(&b->lock);
    budget_clock(b, now_us, mono_us);
    page(b, *cursor, max ? max : 1, &n, &end);
    *out = arena_alloc(arena, (n + 1) * sizeof **out);
    for (size_t i = *cursor; *out && r == 0 && i < end; i++)
        for (struct account *a = b->chains[i]; a && r == 0; a = a->next)
            if (!a->limit->retired)
                r = view_fill(b, a, arena, &(*out)[at++]);
    *cursor = end < b->chain_count ? end : 0;
    pthread_mutex_unlock(&b->lock);
    if (!*out || r != 0)
        return -1;
    *count = at;
    return 0;
}
