/* Logout: POST /tollgate/v1/backchannel-logout, where an issuer tells that a session has ended (OpenID Connect Back-Channel Logout 1.0).
 *
 * The logout token is the caller's credential. What it ends becomes revocations for what was issued until then: a session, when the token
 * names one, and, when it names a subject too, that subject's tokens that name no session; else all tokens of the subject. The answer
 * leaves when they are on disk and in force. */
#ifndef TOLLGATE_LOGOUT_H
#define TOLLGATE_LOGOUT_H

#include "identity/identity.h"

struct decision;
struct logout_memory;

bool logout_asked(const struct http_request *rq);
/* As identity_verify, for a request that logout_asked. Fills d->logout. */
enum identity_result logout_verify(struct decision *d, int64_t now_us, bool may_wait, struct refusal *no) __attribute__((warn_unused_result));
/* On the decision's worker, after logout_verify: on its way to the ledger, or refused. */
void logout_book(struct decision *d);
/* On the decision's worker: it is there, or not. True: to be answered with 200; false: `no` says why not. */
bool logout_booked(struct decision *d, struct refusal *no);

/* Which logout tokens were seen, until they expire; so a token sent again is refused (section 2.6, step 7). Lost at a restart, which costs
 * nothing: the revocations are the same again, and hold for nothing that was issued after them. NULL: out of memory. */
struct logout_memory *logout_memory_new(void) __attribute__((warn_unused_result));
void logout_memory_free(struct logout_memory *m);

#endif
