/* Attempts: the tries of a request, from HAProxy's log lines: a row in the ledger for each, and what breakers and keys are told. Control
 * thread. */
#ifndef TOLLGATE_ATTEMPTS_H
#define TOLLGATE_ATTEMPTS_H

struct agent;
struct inflight;
struct settle_line;

/* The line of one try. It alone tells the keys: a record of the same answer comes beside it and would count it twice. */
void attempts_line(struct agent *a, struct inflight *f, const struct settle_line *l);
/* HAProxy 3 writes no line for a try on a kept connection that the provider had closed: that it was made follows from the second. */
void attempts_infer(struct agent *a, struct inflight *f);

/* The primary finds the prompt too long, and the fallback takes longer ones: a `sticky` conversation stays there. */
void attempts_too_long(struct agent *a, const struct inflight *f);

#endif
