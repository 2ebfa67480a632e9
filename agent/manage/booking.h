/* Booking: what operators put into the ledger through the admin socket. Control thread.
 *
 * An answer says that the operation was accepted, not that it is written: the ledger's writer takes it like any settlement, and the
 * command looks into the file for the result. The first parameter names the ledger's file, so that a command that means another
 * agent's ledger is refused. */
#ifndef TOLLGATE_BOOKING_H
#define TOLLGATE_BOOKING_H

#include <msgpack.h>
#include <stdbool.h>

struct agent;

/* For rpc_method. Parameters: file, then one text for each correction: "ID COST_NANO KNOWN_BY PRICE_VERSION DISCOUNT_NANO", cost and discount
 * differences. They
 * are booked as "repriced". The answer is how many were accepted: all, or there is a reason. Balances follow once the ledger has them. */
const char *booking_reprice(void *user, const msgpack_object *params, msgpack_packer *p);
/* Parameters: file, and the first instant after the month in microseconds. */
const char *booking_close_month(void *user, const msgpack_object *params, msgpack_packer *p);

/* For other methods that write to the ledger. The parameter as a NUL-terminated string; false when it is none or too long. */
bool booking_text(const msgpack_object *params, uint32_t i, char *buf, size_t size);
/* NULL when parameter 0 names this agent's ledger, else a reason. */
const char *booking_same_ledger(const struct agent *a, const msgpack_object *params);

#endif
