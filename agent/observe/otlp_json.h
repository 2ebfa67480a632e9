/* Spans as OTLP's JSON encoding of ExportTraceServiceRequest (opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding"): ids in
 * hexadecimal, 64-bit integers as decimal strings, enumerations as numbers, names in lowerCamelCase.
 *
 * Attributes follow the semantic conventions for generative AI, HTTP and errors; tollgate.* are our own, amounts in nano-dollars and times
 * in microseconds as the ledger has them. Usage stands at the request alone, so that sums over spans count nothing twice. */
#ifndef TOLLGATE_OBSERVE_OTLP_JSON_H
#define TOLLGATE_OBSERVE_OTLP_JSON_H

#include "observe/trace_span.h"

#include <stdio.h>

/* What all spans have in common. */
struct otlp_resource {
    const char *service, *version, *instance;
};

/* One after the other into the same stream: begin, spans (`first`: of this request), end. Errors stay with the stream. */
void otlp_json_begin(FILE *out, const struct otlp_resource *r);
void otlp_json_span(FILE *out, const struct trace_span *s, bool first);
void otlp_json_end(FILE *out);

/* The reply to an export: how many of the spans were not taken, with the receiver's words (`why`, cut to its room; may be empty). False:
 * `body` is no ExportTraceServiceResponse. An empty body is one. */
bool otlp_json_reply(struct slice body, int64_t *rejected, char *why, size_t why_size) __attribute__((warn_unused_result));

#endif
