/* Judgement: what an answer cost and how it ended, from the record of HAProxy's tap. Nothing is booked here. Control thread. */
#ifndef TOLLGATE_JUDGEMENT_H
#define TOLLGATE_JUDGEMENT_H

#include "outcome/costing.h"
#include "relay/relay_stream.h"
#include "request.h"

struct agent;
struct inflight;
struct settle_record;

/* What a request did, before it is written down. */
struct judgement {
    enum known_by known_by;
    struct token_usage usage;
    int64_t cost_nano;
    struct costing price; /* of the usage; all 0 when it is not known */
    bool claimed;             /* the provider says what it cost; it is compared, never charged */
    int64_t claimed_nano;
    const char *outcome;
    int status;
    bool fallback, own; /* own: the gateway answered it */
    int32_t attempts;
    int64_t ttft_us, tpot_ns, total_us, bytes;
    struct slice provider_id; /* the provider's own id of the request, as it came */
};

/* Usage is the provider's own, else counted from what was delivered, else the hold stands for it. */
void judgement_of_record(struct agent *a, const struct inflight *f, const struct settle_record *r, struct judgement *out);
/* Why the relay gave up the first or the second try; NONE: it did not. */
enum relay_cause judgement_relay_cause(const struct inflight *f, bool second);

#endif
