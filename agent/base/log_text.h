/* Log text: bytes of any origin as values of a log line, escaped so that none can end the value, forge a line or steer a terminal. */
#ifndef TOLLGATE_BASE_LOG_TEXT_H
#define TOLLGATE_BASE_LOG_TEXT_H

#include "base/slice.h"

#include <stdio.h>

enum log_escape {
    LOG_ESCAPE_FMT,    /* logfmt: printable ASCII; quote and backslash escaped, every other byte \xNN */
    LOG_ESCAPE_JSON,   /* the inside of a JSON string (RFC 8259): ASCII; the rest \uNNNN, invalid UTF-8 U+FFFD */
    LOG_ESCAPE_JOURNAL /* a journal field: valid UTF-8 as it stands, but for control characters and invalid bytes, which are \xNN */
};

/* Needs no escape and no quotes in any of them. Empty text does need quotes. */
bool log_text_plain(struct slice s);
/* Writes at most `room` bytes, whole escapes and characters only; *used bytes of `s` are in it. Returns the bytes written. */
size_t log_text_escape(enum log_escape how, char *to, size_t room, struct slice s, size_t *used);
/* A whole JSON string, quotes and all. */
void log_text_json(FILE *out, struct slice s);

#endif
