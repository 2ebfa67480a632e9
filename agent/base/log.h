/* Log: one line per event on standard error, `ts level event key=value ...` (logfmt) or a JSON object; under systemd an entry of the
 * journal with a field TOLLGATE_KEY for each key.
 *
 * Values are escaped (base/log_text.h), so no peer can forge a line. Never pass a secret, a token or a prompt; secrets that get in all the
 * same are taken out again (base/redact.h). A value of more than 1,024 bytes is cut, fields beyond 4 KB are left out; such a line says
 * cut=true. Thread-safe: a line is one write(2). Repeated events are rate-limited by log_gate_open. */
#ifndef TOLLGATE_BASE_LOG_H
#define TOLLGATE_BASE_LOG_H

#include "base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_FMT, LOG_FORMAT_JSON };

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_BOOL } type;
    struct slice s;
    int64_t i;
};

#define LOG_STR(k, v) ((struct log_field){ .key = (k), .type = LOG_FIELD_STR, .s = (v) })
#define LOG_CSTR(k, v) ((struct log_field){ .key = (k), .type = LOG_FIELD_STR, .s = slice_cstr(v) })
#define LOG_INT(k, v) ((struct log_field){ .key = (k), .type = LOG_FIELD_INT, .i = (int64_t)(v) })
#define LOG_BOOL(k, v) ((struct log_field){ .key = (k), .type = LOG_FIELD_BOOL, .i = (v) })

/* LOG(LOG_LEVEL_WARN, "jwks_fetch_failed", LOG_CSTR("issuer", url), LOG_INT("status", 500)); at least one field. */
#define LOG(level, event, ...)                                                                                         \
    log_emit((level), (event), (const struct log_field[]){ __VA_ARGS__ },                                              \
             sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))

void log_emit(enum log_level level, const char *event, const struct log_field *fields, size_t n);
/* Lines below `level` are not written. Default: INFO. */
void log_set_level(enum log_level level);
/* Default: logfmt. */
void log_set_format(enum log_format format);
/* Where lines go; default 2. */
void log_set_fd(int fd);
#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"
/* Entries go to the journal's socket at `path` when `stream`, the environment's JOURNAL_STREAM ("device:inode"), says that the lines would
 * end up there anyway. Before threads start. False: they stay lines. An entry the journal does not take is written as a line. */
bool log_use_journal(const char *stream, const char *path);

/* A gate for events a peer can provoke at will: true at most `per_second` times a second for each `struct log_gate`
 * (zero-initialised, static); *suppressed gets how many were held back since the last true. Threads may share one: around the
 * change of a second a few more may pass. */
struct log_gate {
    _Atomic int64_t second;
    atomic_uint passed, held;
};
bool log_gate_open(struct log_gate *g, int64_t mono_us, unsigned per_second, unsigned *suppressed);

#endif
