/* The configuration's part `traces`: defaults and checks. */
#ifndef TOLLGATE_CONFIG_TRACES_H
#define TOLLGATE_CONFIG_TRACES_H

#include "config/config_doc.h"

/* Fills in what the file leaves out, when it names an endpoint. */
void config_traces_defaults(struct config_traces *t);
/* Adds what is wrong; derives sample_parts, timeout_us, interval_us. */
void config_traces_check(struct config_traces *t, const struct config_doc *doc, struct config_errors *errors);

#endif
