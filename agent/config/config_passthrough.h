/* Configuration, `passthrough`: paths that are handed to a provider as they come. Part of config_load. */
#ifndef TOLLGATE_CONFIG_PASSTHROUGH_H
#define TOLLGATE_CONFIG_PASSTHROUGH_H

#include "config/config.h"
#include "config/config_doc.h"

void config_passthrough_check(const struct config *c, const struct config_doc *doc, struct config_errors *errors);
/* Nano-dollars of one request; -1: no price is given. Of a configuration that was accepted. */
int64_t config_passthrough_price(const struct config_passthrough *p);

#endif
