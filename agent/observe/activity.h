/* Activity: what happened in the last minute, in all and by team, model, target and user: for `tollgatectl top`.
 *
 * Sums and latencies in slots of 10 seconds; a row that had nothing for a minute gives its place up. Names beyond ACTIVITY_NAMES of a
 * dimension are counted as "_other". Percentiles are within 10 %. One short lock. Any thread. */
#ifndef TOLLGATE_OBSERVE_ACTIVITY_H
#define TOLLGATE_OBSERVE_ACTIVITY_H

#include "observe/event.h"

enum { ACTIVITY_NAMES = 256, ACTIVITY_NAME = 128 };

enum activity_by { ACTIVITY_ALL, ACTIVITY_TEAM, ACTIVITY_MODEL, ACTIVITY_TARGET, ACTIVITY_USER, ACTIVITY_DIMENSIONS };

struct activity_figures {
    int64_t allowed, denied, answered; /* decisions */
    int64_t settled, failed, fallback; /* settlements; failed: their outcome is not "ok" */
    int64_t input, output;             /* tokens of all kinds */
    int64_t cost_nano;                 /* corrections included */
};

struct activity_row {
    char name[ACTIVITY_NAME];          /* model: as it was asked for; target: group/model; user: team/user */
    struct activity_figures sums;
    int64_t ttft_us[3], tpot_ns[3];    /* 50, 95, 99 %; -1: nothing measured */
};

struct activity;

/* NULL: out of memory. */
struct activity *activity_new(int64_t mono_us) __attribute__((warn_unused_result));
/* NULL is allowed. */
void activity_free(struct activity *a);
void activity_count(struct activity *a, const struct event *e, int64_t mono_us);
/* Rows with anything in them, in no order; at most `max`. Of ACTIVITY_ALL there is always one. *window_us: the time they cover. */
size_t activity_read(struct activity *a, enum activity_by by, int64_t mono_us, struct activity_row *out, size_t max, int64_t *window_us);
/* "all", "team", "model", "target", "user"; false when it is none. */
bool activity_by_word(struct slice word, enum activity_by *out);

#endif
