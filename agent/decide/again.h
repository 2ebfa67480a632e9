/* Again: a provider has refused the only key there is, and HAProxy asks, before it tries a second time, which key it is now.
 *
 * A key that was replaced is told at once. Else the control thread has it looked at anew (a file read, a token fetched), and the answer waits for the
 * end of that, but no longer than ANSWER_MS: then the second try goes with the key that came with the decision. On the worker's thread. */
#ifndef TOLLGATE_AGAIN_H
#define TOLLGATE_AGAIN_H

#include "spop_conn.h"

#include <stdbool.h>

struct connection;
struct worker;

/* True when the message is this question; it is then answered, now or later. */
bool again_asked(struct worker *w, struct connection *c, struct spop_notify *notify);

#endif
