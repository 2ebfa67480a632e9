/* Keys: which key goes with a request, requests signed instead, and what providers' answers say about keys. */
#ifndef TOLLGATE_KEYS_H
#define TOLLGATE_KEYS_H

#include "decide/assess.h"

struct agent;
struct config_provider;
struct inflight;

/* A key for each target. False: refused, `no` is filled: 503 when a key expired between routing and here, 400 when the address has more
 * parts than can be signed. */
bool keys_pick(struct assessment *s);
/* For targets whose requests are signed: the hash of the body as it will be sent. After assess_rewrite, while the body is there. False:
 * memory is out. */
bool keys_hash(struct assessment *s);
/* The header value for HAProxy: in locked memory, or signed now, in the arena; empty: none is needed. False: memory is out. */
bool keys_header(struct assessment *s, bool fallback, struct slice *out);
/* The same for another of the provider's keys: method, path and query as HAProxy sent them, the body by its hash (SIGV4_HEX digits). In the
 * arena; p NULL: it cannot be signed. */
struct slice keys_sign(struct arena *a, const struct http_request *rq, const struct config_provider *p, const struct credential_pick *key,
                       const char *payload);
/* Once it has been handed over: wipes what was signed, for it holds the session token. */
void keys_header_done(const struct assessment *s, bool fallback, struct slice header);
/* Control thread: a provider answered an attempt with `status`; retry_after_s -1: it did not say. */
void keys_heard(struct agent *a, const struct inflight *f, bool fallback, int status, int64_t retry_after_s);

#endif
