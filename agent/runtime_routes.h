/* From the configuration's models to the route table of a runtime. For runtime.c and preview.c. */
#ifndef TOLLGATE_RUNTIME_ROUTES_H
#define TOLLGATE_RUNTIME_ROUTES_H

#include "runtime.h"

/* Fills routes, models and zones; r->config, r->routed and r->arena stand. False with a reason. */
bool runtime_routes_build(struct runtime *r, char *why, size_t why_size) __attribute__((warn_unused_result));
/* The options of this configuration into the breakers of its targets; once nothing can fail any more. */
void runtime_breakers_set(const struct runtime *r);
void runtime_zones_free(struct runtime *r);

#endif
