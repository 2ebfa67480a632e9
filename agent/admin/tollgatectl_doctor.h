/* tollgatectl doctor: findings, and the parts that make them. Each part says what it looked at, whether all is well or not. */
#ifndef TOLLGATE_ADMIN_TOLLGATECTL_DOCTOR_H
#define TOLLGATE_ADMIN_TOLLGATECTL_DOCTOR_H

#include "admin/tollgatectl_args.h"

#include <msgpack.h>

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILURE };

enum { HAPROXY_FILES_MAX = 16 };

struct doctor_finding;

struct doctor {
    struct ctl_place place;
    const struct config *config;   /* NULL: it could not be loaded */
    const char *config_file;
    const char *haproxy[HAPROXY_FILES_MAX];
    size_t haproxy_count;
    const char *haproxy_program;
    bool offline, json;
    bool agent;                    /* it answered; then: */
    msgpack_object status;
    int64_t now_us;
    struct doctor_finding *findings, **last;
    unsigned counts[3];
};

/* Adds a finding: "issuer" about "https://idp.example", what is so, and what to do (NULL when all is well). */
void doctor_say(struct doctor *d, enum doctor_level level, const char *check, const char *subject, const char *fix, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

void doctor_agent(struct doctor *d);
void doctor_ledger(struct doctor *d);
void doctor_clock(struct doctor *d);
void doctor_sockets(struct doctor *d);
void doctor_secrets(struct doctor *d);
void doctor_certificates(struct doctor *d);
void doctor_haproxy(struct doctor *d);
void doctor_prices(struct doctor *d);
/* Issuers and providers, over the network. */
void doctor_network(struct doctor *d);

/* Days until a certificate's end, with a finding when they are few. */
void doctor_expiry(struct doctor *d, const char *subject, int64_t not_after_s, const char *fix);

#endif
