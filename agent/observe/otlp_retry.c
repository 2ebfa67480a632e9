#include "observe/otlp_retry.h"

enum { PAUSE_MAX_S = 30, DOUBLINGS = 5, RETRY_AFTER_MAX_S = 60 };

void otlp_retry_begin(struct otlp_retry *r, int64_t now_us)
{
    *r = (struct otlp_retry){ .first_us = now_us };
}

int64_t otlp_retry_pause_us(struct otlp_retry *r, int64_t now_us, int64_t told_s, unsigned spread)
{
    int64_t pause_s = r->tries < DOUBLINGS ? INT64_C(1) << r->tries : PAUSE_MAX_S;

    if (told_s > pause_s)
        pause_s = told_s < RETRY_AFTER_MAX_S ? told_s : RETRY_AFTER_MAX_S;
    int64_t pause_us = pause_s * 1000000 + pause_s * 250 * spread;
    if (now_us + pause_us - r->first_us > OTLP_RETRY_US)
        return -1;
    r->tries++;
    return pause_us;
}
