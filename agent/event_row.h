/* What an event has in common with its row in the ledger: filled the same way when it happens and when it is read back. */
#ifndef TOLLGATE_EVENT_ROW_H
#define TOLLGATE_EVENT_ROW_H

#include "ledger/ledger.h"
#include "observe/event.h"

static inline void event_row_target(struct event *e, const struct ledger_target *t)
{
    EVENT_TEXT(e->group, t->group);
    EVENT_TEXT(e->provider, t->provider);
    EVENT_TEXT(e->model, t->model);
}

/* All but target, outcome and time. */
static inline void event_row_settlement(struct event *e, const struct ledger_settlement *s)
{
    e->status = s->http_status;
    e->fallback = s->fallback;
    e->known_by = s->known_by;
    e->attempts = s->attempts;
    e->usage = s->usage;
    e->cost_nano = s->cost_nano;
    e->ttft_us = s->ttft_us;
    e->tpot_ns = s->tpot_ns;
    e->total_us = s->total_us;
    EVENT_TEXT(e->provider_id, s->provider_request_id);
}

#endif
