/* The schema of the configuration file: one table for libcyaml, for the check with line numbers and for the list of allowed keys. */
#ifndef TOLLGATE_CONFIG_SCHEMA_H
#define TOLLGATE_CONFIG_SCHEMA_H

#include <cyaml/cyaml.h>

extern const cyaml_schema_value_t config_schema;

#endif
