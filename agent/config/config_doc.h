/* The configuration file as a tree with line numbers: finds out what the schema refuses, and where, before libcyaml loads it.
 *
 * libcyaml stops at the first error, reports the line of the event before it and takes any word for a boolean; people who edit
 * a configuration need every error, its own line and the words that are allowed. */
#ifndef TOLLGATE_CONFIG_DOC_H
#define TOLLGATE_CONFIG_DOC_H

#include "config/config.h"

#include <cyaml/cyaml.h>

struct config_doc;

/* Reads and parses the file. NULL with the reason added to `errors`. */
struct config_doc *config_doc_open(const char *file, struct config_errors *errors);
void config_doc_close(struct config_doc *d);
/* Compares the tree with the schema; adds what it refuses. */
void config_doc_check(struct config_doc *d, const cyaml_schema_value_t *schema, struct config_errors *errors);
/* The line of a value by its path ("limits[2].amount"); of the nearest ancestor when the last parts are absent. */
unsigned config_doc_line(const struct config_doc *d, const char *path);
/* Adds "FILE:LINE: PATH: text". */
void config_doc_error(const struct config_doc *d, struct config_errors *errors, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The file's bytes, for libcyaml. */
const unsigned char *config_doc_text(const struct config_doc *d, size_t *n);

#endif
