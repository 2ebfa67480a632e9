#include "credential/source.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static const double PAUSE_MAX_S = 60;

/* Not a secret, only different on every machine and every time: a fleet must not ask all at once. */
static double random_share(void)
{
    uint32_t r = 0;
    if (getrandom(&r, sizeof r, GRND_NONBLOCK) != sizeof r)
        r = (uint32_t)clock_mono_us() * 2654435761u;
    return r / 4294967296.0;
}

/* Between two thirds and four fifths of its life: a failing endpoint can be asked many times before the value is gone. */
double key_source_ahead_s(int64_t lifetime_s, double random)
{
    double s = (double)lifetime_s * (0.667 + 0.133 * random);
    return s < 0.5 ? 0.5 : s;
}

double key_source_pause_s(unsigned strikes, double random)
{
    double s = strikes > 6 ? PAUSE_MAX_S : (double)(1u << (strikes > 0 ? strikes - 1 : 0));
    if (s > PAUSE_MAX_S)
        s = PAUSE_MAX_S;
    return s * (0.5 + 0.5 * random);
}

static void schedule(struct key_source *s, double after)
{
    if (s->loop == NULL)
        return;
    ev_timer_stop(s->loop, &s->due);
    ev_now_update(s->loop);
    ev_timer_set(&s->due, after, 0.);
    ev_timer_start(s->loop, &s->due);
}

/* Once a value is there. */
static void schedule_next(struct key_source *s, int64_t lifetime_s)
{
    if (lifetime_s >= 0)
        schedule(s, key_source_ahead_s(lifetime_s, random_share()));
    else if (s->refresh_s > 0)
        schedule(s, (double)s->refresh_s * (0.9 + 0.2 * random_share()));
}

static void on_due(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    key_source_fetch(t->data, 0);
}

bool key_source_is_local(const struct credential_key *k)
{
    return k->azure == NULL && k->google == NULL && k->vault == NULL && k->command == NULL;
}

struct key_source *key_source_new(const struct credential_key *k, struct env_pool *pool)
{
    struct key_source *s = k->azure != NULL     ? key_source_azure_new(k->azure)
                       : k->google != NULL  ? key_source_google_new(k->google)
                       : k->vault != NULL   ? key_source_vault_new(k->vault)
                       : k->command != NULL ? key_source_command_new(k->command)
                                            : key_source_local_new(&k->secret);
    if (s == NULL)
        return NULL;
    s->pool = env_pool_ref(pool);
    ev_timer_init(&s->due, on_due, 0., 0.);
    s->due.data = s;
    return s;
}

void key_source_free(struct key_source *s)
{
    if (s == NULL)
        return;
    if (s->fetching)
        s->ops->cancel(s);
    if (s->loop != NULL)
        ev_timer_stop(s->loop, &s->due);
    for (unsigned i = 0; i < SOURCE_KNOWN; i++)
        redact_remove(s->known[i]);
    env_pool_unref(s->pool);
    s->ops->free(s);
}

void key_source_knows(struct key_source *s, unsigned slot, struct slice secret)
{
    struct redact_entry *e = redact_add(secret, NULL);
    redact_remove(s->known[slot]);
    s->known[slot] = e;
}

void key_source_start(struct key_source *s, struct ev_loop *loop, struct http_client *http, int64_t left_s)
{
    s->loop = loop;
    s->http = http;
    if (left_s == 0)
        key_source_fetch(s, 0);
    else
        schedule_next(s, left_s);
}

void key_source_fetch(struct key_source *s, int64_t min_gap_s)
{
    int64_t now = clock_mono_us();

    if (s->fetching || (min_gap_s > 0 && s->begun_mono_us > 0 && now - s->begun_mono_us < min_gap_s * 1000000))
        return;
    if (s->loop != NULL)
        ev_timer_stop(s->loop, &s->due);
    s->fetching = true;
    s->begun_mono_us = now;
    s->fetches++;
    s->ops->fetch(s);
}

static void failed(struct key_source *s)
{
    double again = -1;

    s->fetching = false;
    s->failures++;
    s->strikes++;
    if (s->ops->retries && s->loop != NULL) {
        again = key_source_pause_s(s->strikes, random_share());
        schedule(s, again);
    }
    s->to.failed(s->to.user, s->error, again);
}

void key_source_done(struct key_source *s, struct slice text, int64_t lifetime_s)
{
    if (!s->to.value(s->to.user, text, lifetime_s, s->error, sizeof s->error)) {
        failed(s);
        return;
    }
    s->fetching = false;
    s->strikes = 0;
    s->error[0] = '\0';
    schedule_next(s, lifetime_s);
}

void key_source_fail(struct key_source *s, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(s->error, sizeof s->error, fmt, args);
    va_end(args);
    failed(s);
}
