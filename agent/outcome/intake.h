/* Intake: the sockets on which HAProxy tells what became of requests: the tap's records and the log ring. Control thread. */
#ifndef TOLLGATE_INTAKE_H
#define TOLLGATE_INTAKE_H

#include <stddef.h>
#include <sys/types.h>

struct agent;
struct intake;

/* Listens on the settlement socket (a path) and on the ring's address. NULL with a reason. */
struct intake *intake_start(struct agent *a, const char *settle_path, const char *ring_address, mode_t mode, gid_t group, char *why,
                            size_t why_size) __attribute__((warn_unused_result));
/* NULL is allowed, twice is harmless. Nothing is heard any more; records that are not acknowledged yet are sent again by HAProxy later. */
void intake_stop(struct intake *in);
/* After intake_stop and once no record is on its way to the ledger. NULL is allowed. */
void intake_free(struct intake *in);

#endif
