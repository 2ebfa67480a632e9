/* What the dialects share: walking the members we know of an object, lists, typed values, the parts found, and refusals that name the
 * place. Internal to this folder.
 *
 * Errors are sticky: the first refusal stops the scanner, every later call does nothing, and dialect_parse looks once, at the end. */
#ifndef TOLLGATE_DIALECT_WALK_H
#define TOLLGATE_DIALECT_WALK_H

#include "base/json_scan.h"
#include "request.h"

/* Deepest place a `param` can name; our walks are less deep. */
#define WALK_DEPTH 16

/* The members of an object: first those a walk reads, then those known not to cost input tokens. */
struct fields {
    const struct slice *names;
    unsigned read, known;
    bool count_unknown; /* strings, objects and arrays under other names become parts IN_OTHER */
    uint64_t seen;
};

#define FIELD(s) { .p = s, .n = sizeof(s) - 1 }
#define FIELDS(table, reads, unknown) \
    { .names = (table), .read = (reads), .known = sizeof(table) / sizeof((table)[0]), .count_unknown = (unknown) }

struct walk_place {
    struct slice key; /* empty: an element */
    int64_t index;
};

struct walk {
    struct json_scan s;
    struct arena *arena;
    struct ask *ask;
    struct refusal *why;
    bool refused;
    struct ask_part **chunks; /* ASK_PARTS_CHUNK parts each */
    size_t count, room;       /* parts; chunks there are places for */
    uint32_t message; /* index of the message being read; UINT32_MAX for none */
    struct walk_place path[WALK_DEPTH];
    unsigned depth;
    struct span key;  /* the key walk_field read last, with its quotes */
};

/* Refuses with status 400. Without `param` the current place is named. The first refusal wins. */
void walk_refuse(struct walk *w, const char *code, const char *param, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void walk_no_memory(struct walk *w);
/* "Invalid type for 'x': expected EXPECTED." */
void walk_wrong_type(struct walk *w, const char *expected);
/* The current place, "messages[2].content". */
struct slice walk_place_text(struct walk *w);

/* Enters the object or array at the cursor; refuses another kind with `expected` as what is needed. */
bool walk_object(struct walk *w, const char *expected);
bool walk_array(struct walk *w, const char *expected);
/* The index of the next member that `f` reads, the cursor at its value, which the caller must consume; others are passed over. -1: the
 * object was left, or a refusal. */
int walk_field(struct walk *w, struct fields *f);
bool walk_element(struct walk *w);

bool walk_is(struct walk *w, enum json_kind k);
/* Passes over null. */
bool walk_null(struct walk *w);
bool walk_skip(struct walk *w, struct slice *raw);
bool walk_string(struct walk *w, struct json_text *out);
/* A string, unescaped. */
bool walk_decoded(struct walk *w, struct slice *out);
bool walk_bool(struct walk *w, bool *out);
bool walk_int(struct walk *w, int64_t least, int64_t most, int64_t *out);
struct span walk_span(const struct walk *w, struct slice raw);

/* A new part; NULL after a refusal. */
struct ask_part *walk_part(struct walk *w, enum ask_part_kind kind, enum ask_place place);
/* The string at the cursor as PART_TEXT; empty ones are left out. */
void walk_text(struct walk *w, enum ask_place place);
/* The same for one that was read before. */
void walk_text_read(struct walk *w, struct json_text t, enum ask_place place);
/* Any value at the cursor as PART_JSON. */
void walk_json(struct walk *w, enum ask_place place);
/* Something not visible from here: passes over it. */
void walk_unknown(struct walk *w, enum ask_place place);

/* The members that mean the same in several dialects. */
void walk_model(struct walk *w);
void walk_max_output(struct walk *w, int64_t least);
void walk_choices(struct walk *w);
void walk_stream(struct walk *w);
/* {"include_usage": ...} */
void walk_stream_options(struct walk *w);
/* A string, unescaped, or null, which leaves *out. */
void walk_optional(struct walk *w, struct slice *out);
/* The same, as it is written. */
void walk_optional_text(struct walk *w, struct json_text *out);
bool walk_text_among(struct json_text t, const struct slice *names, size_t n);
/* An array of messages: `message` is called at each. */
void walk_messages(struct walk *w, void (*message)(struct walk *));
/* An array of tools, or null. `own` says of a tool's type (raw.n 0: none given) whether it is of the caller's making: then its text is all
 * it costs, else it works at the provider and may pull in what it likes. */
void walk_tools(struct walk *w, bool (*own)(struct json_text type));
/* After the object: refuses when the member was not there. */
void walk_require(struct walk *w, const struct fields *f, unsigned i);

/* One for each endpoint: the cursor is at the outer value. */
void dialect_chat(struct walk *w);
void dialect_responses(struct walk *w);
void dialect_completions(struct walk *w);
void dialect_embeddings(struct walk *w);
void dialect_messages(struct walk *w);

#endif
