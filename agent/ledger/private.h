/* What archive.c needs to know of an open ledger. */
#ifndef TOLLGATE_LEDGER_PRIVATE_H
#define TOLLGATE_LEDGER_PRIVATE_H

#include "ledger/ledger.h"

const char *ledger_file(const struct ledger *l);

#endif
