/* Again: a provider has refused the only key there is, and HAProxy asks, before it tries a second time, which key it is now.
 *
 * A key that was replaced is told at once. Else the control thread has it looked at anew (a file read, a token fetched), and the answer waits for
 * the end of that, at most three fifths of `decision_timeout`, and at least a little for a file that is only being replaced: then the second
 * try goes with the one that came with the decision. Signed requests are signed anew. On the worker's thread.
 *
 * And `llm-pause`: the second try is to wait for as long as the provider asked. The answer comes then, or as soon as the request is over: with
 * `over`, and no provider is asked for it. */
#ifndef TOLLGATE_AGAIN_H
#define TOLLGATE_AGAIN_H

#include "spop_conn.h"

#include <stdbool.h>

struct connection;
struct worker;

/* True when the message is one of these; it is then answered, now or later. */
bool again_asked(struct worker *w, struct connection *c, struct spop_notify *notify);

#endif
