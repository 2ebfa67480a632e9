#include "manage/booking.h"

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "ledger/ledger.h"
#include "outcome/adjusting.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_SIZE = 4096, CORRECTIONS_MAX = 1000 };

bool booking_text(const msgpack_object *params, uint32_t i, char *buf, size_t size)
{
    if (params->type != MSGPACK_OBJECT_ARRAY || i >= params->via.array.size)
        return false;
    const msgpack_object *o = &params->via.array.ptr[i];
    if (o->type != MSGPACK_OBJECT_STR || o->via.str.size >= size || memchr(o->via.str.ptr, '\0', o->via.str.size) != NULL)
        return false;
    memcpy(buf, o->via.str.ptr, o->via.str.size);
    buf[o->via.str.size] = '\0';
    return true;
}

const char *booking_same_ledger(const struct agent *a, const msgpack_object *params)
{
    char file[TEXT_SIZE];
    struct stat asked, ours;

    if (!booking_text(params, 0, file, sizeof file))
        return "the ledger's file is missing";
    if (stat(file, &asked) != 0 || stat(ledger_file(a->ledger), &ours) != 0 || asked.st_dev != ours.st_dev || asked.st_ino != ours.st_ino)
        return "this agent keeps another ledger; name its configuration with --config, or its socket with --socket";
    return NULL;
}

static const char *const results[] = { "ok", "stale", "invalid", "failed" };

static void on_closed(struct ledger_op *op, enum ledger_result result)
{
    if (result != LEDGER_OK)
        LOG(LOG_LEVEL_WARN, "booking_refused", LOG_CSTR("operation", "close_month"), LOG_CSTR("result", results[result]));
    free(op);
}

static void on_corrected(struct agent *a, void *user, const struct ledger_correction *c, enum ledger_result result)
{
    (void)a, (void)user;
    if (result != LEDGER_OK)
        LOG(LOG_LEVEL_WARN, "booking_refused", LOG_CSTR("operation", "correction"), LOG_INT("request", c->id), LOG_CSTR("result", results[result]));
}

static bool integers_parse(const char *text, int64_t *out, int count)
{
    for (int i = 0; i < count; i++) {
        char *end;
        errno = 0;
        out[i] = strtoll(text, &end, 10);
        if (errno != 0 || end == text || *end != (i + 1 < count ? ' ' : '\0'))
            return false;
        text = end + 1;
    }
    return true;
}

static bool correction_parse(const char *text, struct ledger_correction *out)
{
    int64_t v[5];

    if (!integers_parse(text, v, 5) || v[0] <= 0 || v[2] < KNOWN_REPORTED || v[2] > KNOWN_NONE)
        return false;
    *out = (struct ledger_correction){ .id = v[0], .booked_us = clock_wall_us(), .reason = SLICE_LIT("repriced"),
                                       .known_by = (enum known_by)v[2], .cost_nano = v[1], .price_version = v[3], .discount_nano = v[4] };
    return true;
}

const char *booking_reprice(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    const char *why = booking_same_ledger(a, params);
    struct ledger_correction *all;
    char text[128];
    uint32_t n = 0, accepted = 0;

    if (why != NULL)
        return why;
    if (params->via.array.size > CORRECTIONS_MAX + 1)
        return "too many corrections in one call";
    all = calloc(CORRECTIONS_MAX, sizeof *all);
    if (all == NULL)
        return "out of memory; nothing was booked";
    for (uint32_t i = 1; i < params->via.array.size; i++, n++)
        if (!booking_text(params, i, text, sizeof text) || !correction_parse(text, &all[n])) {
            free(all);
            return "a correction is not understood; nothing was booked";
        }
    while (accepted < n && adjusting_submit(a, &all[accepted], 0, on_corrected, NULL))
        accepted++;
    free(all);
    LOG(LOG_LEVEL_INFO, "repriced", LOG_INT("corrections", accepted));
    if (accepted < n)
        return "out of memory; run this again, only what is missing will be booked";
    msgpack_pack_uint32(p, n);
    return NULL;
}

const char *booking_close_month(void *user, const msgpack_object *params, msgpack_packer *p)
{
    struct agent *a = user;
    const char *why = booking_same_ledger(a, params);
    char text[32];
    int64_t before_us;

    if (why != NULL)
        return why;
    if (!booking_text(params, 1, text, sizeof text) || !integers_parse(text, &before_us, 1) || before_us <= 0 || before_us > clock_wall_us())
        return "only a month that is over can be closed";
    struct ledger_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return "out of memory";
    op->kind = LEDGER_CLOSE_MONTH;
    op->done = on_closed;
    op->close = (struct ledger_month_close){ .before_us = before_us, .closed_us = clock_wall_us() };
    ledger_submit(a->ledger, op);
    msgpack_pack_true(p);
    return NULL;
}
