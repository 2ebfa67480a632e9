/* The request as it passes through the pipeline: plain structs, no behaviour.
 *
 * Concern folders (identity/, dialect/, tokens/, ...) never include each other's headers; what one finds out and another needs
 * stands here. All slices point into the SPOP frame or the request's arena and live until the request is answered.
 * Units: tokens are counts; money is nano-dollars (10^-9 USD) in int64; times are UTC microseconds since 1970 unless a name says
 * otherwise. */
#ifndef TOLLGATE_REQUEST_H
#define TOLLGATE_REQUEST_H

#include "base/arena.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- what HAProxy sent (haproxy/tollgate-spoe.conf names the arguments) ------------------------------------------ */

struct http_request {
    struct slice id;            /* HAProxy's unique-id: the request's only identity */
    struct slice method, path, query;
    struct slice client_ip;     /* text form */
    struct slice authorization; /* header values as received; empty when absent */
    struct slice api_key;       /* x-api-key, or api-key as Azure's clients send it */
    struct slice deployment;    /* of a path of Azure's form, decoded: takes the place of the body's model */
    struct slice anthropic_version; /* its header: the client is one of Anthropic's */
    struct slice content_type, content_encoding, user_agent;
    struct slice traceparent, tracestate; /* headers; `traceparents`: how many of the former there were */
    int64_t traceparents;
    struct slice host;
    struct slice conversation;  /* x-tollgate-conversation: what the client says belongs together */
    struct slice certificate;   /* the client's, DER, as HAProxy's TLS layer has it; empty when there is none */
    bool certificate_used;      /* ssl_c_used: the client showed one in this TLS session */
    int64_t certificate_verify; /* ssl_c_verify: 0 is good; -1 when the connection has no TLS */
    struct slice body;
    int64_t content_length;     /* -1 when the client declared none (chunked) */
    int64_t body_length;        /* what HAProxy's buffer held: req.body_len */
};

/* ---- identity: who asks ------------------------------------------------------------------------------------------ */

struct identity {
    struct slice issuer, subject, organization, team, user, application, cost_center;
    const struct slice *groups;
    size_t group_count;
    struct slice token_id, session; /* `jti` and `sid` of the token; empty: it has none */
    struct slice certificate;       /* SHA-256 of the client certificate shown, in hexadecimal, also beside a token; empty: none */
    struct slice certificate_rule;  /* name of the rule that made this identity of it; empty: the identity is a token's or key's */
    struct slice bound;             /* SHA-256 in hexadecimal of the certificate the token is bound to; only until identity_verify has checked it */
    struct slice key_id;            /* of a gateway key; empty: it is none */
    struct slice key_budget;        /* the key's own, "$50 month"; empty: none */
    struct slice key_models;        /* what the key may ask for, one a line, '*' at the end stands for any ending; empty: everything */
    unsigned key_endpoints;         /* bit per enum endpoint the key may use; 0: all */
    int64_t expires_s;              /* seconds since 1970: exp of the token */
    int64_t issued_s;               /* iat; 0: it does not say */
};

/* ---- dialect: what is asked -------------------------------------------------------------------------------------- */

enum endpoint {
    ENDPOINT_CHAT,        /* POST /v1/chat/completions */
    ENDPOINT_RESPONSES,   /* POST /v1/responses */
    ENDPOINT_COMPLETIONS, /* POST /v1/completions */
    ENDPOINT_EMBEDDINGS,  /* POST /v1/embeddings */
    ENDPOINT_MESSAGES,    /* POST /v1/messages (Anthropic) */
    ENDPOINT_PASSTHROUGH  /* paths of the configuration's `passthrough`: no body of theirs is read */
};

/* A stretch of the body in bytes. len 0: not present. */
struct span {
    size_t off, len;
};

/* How sure a count is (tokens.md, section 6). */
enum exactness { EXACT_TOKENS, DOCUMENTED_TOKENS, ESTIMATED_TOKENS };

enum ask_part_kind {
    PART_TEXT,   /* a JSON string: `raw` is what stands between its quotes, still escaped */
    PART_JSON,   /* a JSON value counted as it stands, minified (tools, schemas, tool arguments as objects) */
    PART_IMAGE,  /* width, height, detail */
    PART_AUDIO,  /* `bytes` of decoded audio */
    PART_FILE,   /* a document given inline; `bytes` decoded */
    PART_TOKENS, /* `count` tokens given as numbers (embeddings, legacy completions) */
    PART_UNKNOWN /* something whose size cannot be seen from here (remote URL, stored file, earlier response) */
};

enum ask_place {
    IN_ROLE, IN_NAME, IN_CONTENT, IN_TOOL_CALL, IN_TOOL_RESULT, IN_TOOLS, IN_SCHEMA, IN_SYSTEM, IN_PROMPT, IN_PREDICTION, IN_OTHER
};

enum image_detail { IMAGE_AUTO, IMAGE_LOW, IMAGE_HIGH };

/* Small: a body of 1 MB can have a hundred thousand of them. */
struct ask_part {
    enum ask_part_kind kind : 8;
    enum ask_place place : 8;
    enum image_detail detail : 8;
    bool escaped;                 /* PART_TEXT: `raw` holds at least one backslash */
    uint32_t message;             /* index of the message (item) it belongs to; UINT32_MAX for none */
    struct slice raw;
    uint32_t width, height;       /* PART_IMAGE: pixels; 0 when unknown (remote URL) */
    union {
        uint64_t bytes;           /* PART_AUDIO, PART_FILE, PART_IMAGE: decoded size; 0 when unknown */
        uint64_t count;           /* PART_TOKENS */
    };
};

/* Features a route may look at or a target may lack. */
enum ask_feature {
    ASK_STREAM = 1, ASK_TOOLS = 2, ASK_IMAGES = 4, ASK_AUDIO = 8, ASK_JSON_SCHEMA = 16, ASK_LOGPROBS = 32, ASK_FILES = 64,
    ASK_STORED = 128 /* refers to something kept by the provider: earlier response, conversation, stored prompt, file id */
};

#define ASK_PARTS_CHUNK 32

enum ask_images { ASK_IMAGES_UNSAID, ASK_IMAGES_NONE, ASK_IMAGES_WANTED };

struct ask {
    enum endpoint endpoint;
    bool count_only;              /* of /v1/messages/count_tokens: the gateway answers how many input tokens these are */
    struct slice model;           /* decoded */
    bool stream;
    bool include_usage;           /* stream_options.include_usage as the client sent it */
    int64_t max_output;           /* the client's own ceiling for one choice; -1 when absent */
    int64_t choices;              /* n, or best_of when larger; 1 when absent (for embeddings 1) */
    enum ask_images images_out;   /* in the answer: by chat's modalities, or by Responses' tool image_generation */
    int64_t max_tool_calls;       /* Responses; -1 when absent */
    int64_t thinking_budget;      /* Anthropic thinking.budget_tokens, part of max_output and below it; -1 when absent */
    struct slice service_tier, inference_geo, speed; /* as sent, decoded; empty when absent */
    unsigned features;            /* ask_feature bits */
    struct slice user_field;      /* `user` as sent by the client, decoded; never an identity */
    const struct ask_part *const *part_chunks; /* of ASK_PARTS_CHUNK each, but for the last */
    size_t part_count;
    uint32_t message_count;
    bool had_invalid_text;        /* lone surrogates: counted as U+FFFD, so the count is an estimate */
    /* Where things stand in the body, for rewriting. Values include their quotes. */
    struct span at_object;        /* the outer object, brace to brace */
    struct span at_model;
    struct span at_max_output;    /* the value the client used, whatever its key */
    struct span at_max_output_key; /* that key, with its quotes */
    struct span at_stream_options; /* the whole value */
    struct span at_include_usage; /* the value inside stream_options */
};

static inline const struct ask_part *ask_part_at(const struct ask *ask, size_t i)
{
    return &ask->part_chunks[i / ASK_PARTS_CHUNK][i % ASK_PARTS_CHUNK];
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

struct token_estimate {
    int64_t input;       /* best count */
    int64_t input_bound; /* what a hold must assume: >= input */
    enum exactness exactness;
};

/* ---- route: which provider groups -------------------------------------------------------------------------------- */

struct target {
    struct slice group;      /* provider group = HAProxy backend name without its prefix */
    struct slice provider;   /* the provider's name in the price table */
    struct slice model;      /* the model's real name at that provider */
    struct slice key_name;   /* of the provider's key that is sent along, for the ledger; empty: none */
    struct slice credential; /* the ready header value; points into a secret, never copied, never logged */
    struct slice encoding;   /* tokenizer: o200k_base, cl100k_base, ... */
};

/* ---- price ------------------------------------------------------------------------------------------------------- */

struct token_usage {
    /* Disjoint: a token is counted in exactly one of these. */
    int64_t input;             /* at the full input price */
    int64_t input_cached;      /* read from the provider's cache */
    int64_t input_cache_write; /* written to it (5 minutes) */
    int64_t input_cache_write_1h;
    int64_t output;            /* visible output */
    int64_t output_reasoning;
    int64_t input_audio, output_audio;
    int64_t images;            /* sent with the request; no tokens: those they make are among the input */
    int64_t images_out;        /* answered with */
    int64_t output_image;      /* of `output`: tokens of images */
    int64_t image_told;        /* 1: the usage says how many of those there are, 0 included */
};

/* The sums over the kinds: what went in, what came out. */
static inline int64_t token_usage_input(const struct token_usage *u)
{
    return u->input + u->input_cached + u->input_cache_write + u->input_cache_write_1h + u->input_audio;
}

static inline int64_t token_usage_output(const struct token_usage *u)
{
    return u->output + u->output_reasoning + u->output_audio;
}

static inline int64_t token_usage_total(const struct token_usage *u)
{
    return token_usage_input(u) + token_usage_output(u);
}

/* The kinds of tokens that have prices of their own, in the order of struct token_usage. */
enum price_kind {
    PRICE_INPUT, PRICE_CACHED, PRICE_CACHE_WRITE, PRICE_CACHE_WRITE_1H, PRICE_OUTPUT, PRICE_REASONING, PRICE_AUDIO_IN, PRICE_AUDIO_OUT,
    PRICE_KINDS
};

/* Bits of model_price.published. */
#define PRICE_SAYS_IMAGE_OUT (1u << PRICE_KINDS)
#define PRICE_SAYS_IMAGE_TOKEN (1u << (PRICE_KINDS + 1))

enum price_status {
    PRICE_NONE, /* not in the table, or no token price published */
    PRICE_HALF, /* only part of what is charged is known (no output price, charges that no usage record carries) */
    PRICE_ZERO, /* a catalogue says 0 for everything: free, or nobody filled it in */
    PRICE_OK    /* can be billed and held */
};

enum { PRICE_TIERS = 4 };

/* Pico-dollars (10^-12 USD) per token, by price_kind. Every kind has a figure: what was not published is already replaced by
 * the rule in price/price.h. */
struct price_rates {
    int64_t pico[PRICE_KINDS];
};

struct price_tier {
    int64_t above; /* input tokens of all kinds; from above + 1 on the WHOLE request is charged at `rates` */
    struct price_rates rates;
};

struct model_price {
    struct slice provider, model;
    enum price_status status;
    bool overridden;       /* by configuration, not from a catalogue */
    unsigned published;    /* bit per price_kind, and the two below: stood in the source */
    struct price_rates base;
    unsigned tier_count;
    struct price_tier tiers[PRICE_TIERS]; /* ascending by `above` */
    int64_t request_pico;  /* per request, whatever its size */
    int64_t image_pico;    /* per image sent with it, beside its tokens */
    int64_t image_out_pico, image_token_pico; /* per image answered with, in place of its tokens; per token of such images */
    int64_t context, input_limit, output_limit; /* tokens; 0 = unknown */
    unsigned lacks;        /* ask_feature bits the catalogue says the model does not have; no part of the price's version */
};

/* ---- settlement: how a figure is known --------------------------------------------------------------------------- */

enum known_by {
    KNOWN_OPEN,     /* not settled yet */
    KNOWN_REPORTED, /* the provider's usage */
    KNOWN_COUNTED,  /* counted locally from what was delivered */
    KNOWN_BOUNDED,  /* nothing known: the hold stands */
    KNOWN_NONE      /* the provider did no work: cost 0 */
};

/* ---- refusal ----------------------------------------------------------------------------------------------------- */

/* What the client is told. `message` says what to change and never holds a secret. */
struct refusal {
    int status;              /* HTTP; 0 = not refused */
    const char *type;        /* OpenAI error type */
    const char *code;        /* OpenAI error code */
    const char *param;       /* or NULL */
    struct slice message;    /* unescaped UTF-8 */
    struct slice allow;      /* with 405: the methods, as in the Allow header (RFC 9110 10.2.1) */
    int64_t retry_after_s;   /* -1: no Retry-After */
    bool do_not_retry;       /* x-should-retry: false */
    const char *reason;      /* short stable word for metrics and the ledger (e.g. "budget", "token_expired") */
};

#endif
