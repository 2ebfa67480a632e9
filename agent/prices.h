/* Prices and the ledger: which versions there are, from when on each was in force, and tables read back. Control thread. */
#ifndef TOLLGATE_PRICES_H
#define TOLLGATE_PRICES_H

#include "ledger/read.h"
#include "price/price.h"

struct agent;
struct runtime;

/* Before `r` decides anything: all its versions, so that no row names one that is not there, and which is in force. */
void prices_record(struct agent *a, struct runtime *r);
/* Every second or so: scheduled versions whose instant has come. Requests have them from that instant on by themselves. */
void prices_tick(struct agent *a);
/* The table of that version with one reference; NULL: the ledger does not have it, cannot be read, or memory is out. */
struct price_table *prices_read(struct ledger_reader *r, int64_t version);

#endif
