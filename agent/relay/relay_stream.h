/* One response on its way from a provider to the client: what is held back, what is passed on, how it ends.
 *
 * Bytes of an HTTP/1.1 response go in, bytes of an HTTP/1.1 response come out; no sockets and no clock in here. A response that is no
 * event stream passes as it is, but a JSON error object with status 200 is a failed try, and so is a compressed stream when another try
 * follows. Of an event stream the head and the opening events are held back until the first event that says
 * something: until then the try can still be given up, and the caller's next try takes its place without the client knowing. From then
 * on whole events are passed on as they arrive, never a part of one, and the stream ends in one of two ways: as the provider ended it, or with
 * one error event in the client's own dialect and no terminal event, so that nothing broken looks like a success.
 *
 * What an event means is the caller's to judge (`judge`). Everything is bounded: heads by RELAY_HEAD_MAX, opening events and a single event by
 * RELAY_EVENT_MAX; a longer event is passed on in pieces, more than that of opening events is passed on as it is. */
#ifndef TOLLGATE_RELAY_STREAM_H
#define TOLLGATE_RELAY_STREAM_H

#include "relay/relay_buffer.h"
#include "relay/relay_http.h"

#define RELAY_EVENT_MAX ((size_t)1 << 20)

/* The shape of error events (agent/request.h's endpoints, as far as they differ here). */
enum relay_shape { RELAY_CHAT, RELAY_RESPONSES, RELAY_MESSAGES };

/* What an event is; bits. */
enum relay_event {
    RELAY_OPENING = 1,   /* says nothing yet: comments, pings, the empty first delta */
    RELAY_FINISHED = 2,  /* the answer is complete: a finish reason, [DONE], message_stop, response.completed */
    RELAY_ERROR = 4,     /* the provider's own error event: nothing is to be added when the stream ends */
    RELAY_RETRY = 8,     /* with ERROR: one that another provider may do better on */
    RELAY_STOP = 16      /* use has passed what was held: pass this event on, then end */
};

/* Why a stream was given up; the values are kept by the caller. */
enum relay_cause {
    RELAY_CAUSE_NONE,
    RELAY_CAUSE_CUT,       /* the provider broke off */
    RELAY_CAUSE_STALLED,   /* silence between events */
    RELAY_CAUSE_LATE,      /* no first event in time */
    RELAY_CAUSE_REFUSED,   /* an error event before anything else */
    RELAY_CAUSE_STOPPED,   /* RELAY_STOP */
    RELAY_CAUSE_SHUTDOWN,  /* the gateway ends */
    RELAY_CAUSE_TOO_LONG,  /* REFUSED, for its prompt is too long there; told by who judges events, never by the stream itself */
    RELAY_CAUSES
};
/* "cut", "stalled", "first_event_late", "error_event", "stopped", "shutdown", "context_length"; "" for NONE. */
const char *relay_cause_word(enum relay_cause cause);

enum relay_state {
    RELAY_HEAD,   /* no whole response head yet */
    RELAY_HELD,   /* an event stream that has said nothing yet */
    RELAY_OPEN,   /* events are passed on */
    RELAY_PLAIN,  /* no event stream: bytes pass as they are */
    RELAY_ENDED   /* what is in `out` is all there will be */
};

struct relay_rules {
    enum relay_shape shape;
    bool may_retry;       /* another try will follow if this one is given up */
    int attempt;          /* 1 or 2 */
    struct slice group;   /* outlives the stream */
    /* The event with its blank line (or the first RELAY_EVENT_MAX bytes of a longer one): relay_event bits. */
    unsigned (*judge)(void *user, struct slice event);
    void *user;
};

struct relay_stream {
    struct relay_rules rules;
    enum relay_state state;
    enum relay_cause cause;    /* why it was given up; NONE: it was not */
    struct relay_buffer out;   /* for the client; the caller takes from it */
    struct relay_buffer held;  /* head bytes, then head and opening events */
    struct relay_buffer event; /* the beginning of an event */
    struct relay_chunks chunks;
    uint64_t events;           /* with data, passed on */
    size_t head_size;          /* of what is held, while HELD */
    size_t line;               /* bytes of the line at the end of `event` */
    bool carriage;             /* the last byte was a CR */
    bool oversize;             /* of the event being read, all before was passed on already */
    bool unchunked;            /* the provider's body: not in chunks */
    int64_t left;              /* of it, while unchunked; -1: it ends with the connection */
    bool finished, error, failed; /* failed: memory is out; the connection must be closed */
};

void relay_stream_init(struct relay_stream *s, const struct relay_rules *rules);
/* The provider's next bytes. Returns the number of events that ended among them. */
size_t relay_stream_take(struct relay_stream *s, struct slice bytes);
/* The provider's connection has ended. */
void relay_stream_eof(struct relay_stream *s);
/* Gives the stream up: before anything was passed on an error response (504 when late, 502 or 503 otherwise), after that an error event.
 * Nothing happens to a plain response that has begun, nor when it had ended. */
void relay_stream_fail(struct relay_stream *s, enum relay_cause cause);
void relay_stream_free(struct relay_stream *s);

#endif
