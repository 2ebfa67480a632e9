/* From bytes to frames: in place when a frame is whole in what was fed, else gathered in conn->in, which holds one frame at most. */
#include "spop_conn_private.h"

#include <string.h>

static bool takes_frames(const struct spop_conn *conn)
{
    return conn->state == SPOP_CONN_HELLO || conn->state == SPOP_CONN_OPEN;
}

/* Only an answer lifts it, and after an answer the owner calls resume: input that waits is never forgotten. Unsent output must not
 * hold back input already here, for nothing tells the owner to resume once the last byte is written. */
static bool limit_reached(const struct spop_conn *conn)
{
    return conn->in_flight >= conn->options.max_in_flight || conn->in_flight_bytes >= conn->options.max_in_flight_bytes;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool length_is_good(struct spop_conn *conn, uint32_t length)
{
    if (length < SPOP_FRAME_MIN)
        conn_fail(conn, SPOP_INVALID_FRAME, "frame shorter than its metadata");
    else if (length > conn->frame_limit)
        conn_fail(conn, SPOP_FRAME_TOO_BIG, "frame longer than max-frame-size");
    else
        return true;
    return false;
}

enum verdict { TAKE, SKIP, REFUSED };

/* Judges a frame by its type and flags, before its body is waited for. */
static enum verdict head_verdict(struct spop_conn *conn, unsigned type, uint32_t flags)
{
    const char *wrong = NULL;
    if (conn->state == SPOP_CONN_HELLO) {
        if (type != SPOP_HAPROXY_HELLO)
            wrong = "first frame is not HAPROXY-HELLO";
    } else if (type == SPOP_HAPROXY_HELLO) {
        wrong = "second HAPROXY-HELLO";
    } else if (type == SPOP_AGENT_HELLO || type == SPOP_AGENT_DISCONNECT || type == SPOP_ACK) {
        wrong = "frame type only an agent sends";
    } else if (type == SPOP_UNSET) {
        conn_fail(conn, SPOP_INTERLACED_FRAMES, "continuation of a frame that was never begun");
        return REFUSED;
    } else if (type != SPOP_NOTIFY && type != SPOP_HAPROXY_DISCONNECT) {
        return SKIP;
    }
    if (wrong != NULL) {
        conn_fail(conn, SPOP_INVALID_FRAME, wrong);
        return REFUSED;
    }
    if ((flags & SPOP_FIN) == 0) {
        conn_fail(conn, SPOP_NO_FRAGMENTATION, "fragmented frame, and fragmentation was not offered");
        return REFUSED;
    }
    return TAKE;
}

/* A frame that starts at p. Bytes used; 0 when it is not whole there or refused. */
static size_t consume_in_place(struct spop_conn *conn, const uint8_t *p, size_t n)
{
    if (n < HEAD_BYTES)
        return 0;
    uint32_t length = be32(p);
    if (!length_is_good(conn, length) || length > n - SPOP_LENGTH_BYTES)
        return 0;
    enum verdict verdict = head_verdict(conn, p[4], be32(p + 5));
    if (verdict == TAKE)
        conn_handle_frame(conn, (struct spop_bytes){ .p = (const char *)p + SPOP_LENGTH_BYTES, .n = length }, false);
    return verdict != REFUSED ? SPOP_LENGTH_BYTES + (size_t)length : 0;
}

/* Room for `more` bytes of a frame of `total`: doubling as bytes come, never by what the length alone says. */
static bool in_reserve(struct byte_buffer *in, size_t more, size_t total)
{
    enum { FIRST_SIZE = 512 };
    if (more <= in->cap - in->len)
        return true;
    size_t cap = in->cap != 0 ? in->cap * 2 : FIRST_SIZE;
    if (cap > total && total > FIRST_SIZE)
        cap = total;
    if (cap < in->len + more)
        cap = in->len + more;
    return buffer_resize(in, cap);
}

static void in_complete(struct spop_conn *conn)
{
    struct byte_buffer *in = &conn->in;
    conn_handle_frame(conn, (struct spop_bytes){ .p = (const char *)in->p + SPOP_LENGTH_BYTES, .n = in->len - SPOP_LENGTH_BYTES },
                      true);
    buffer_reset(in);
}

/* Called with HEAD_BYTES gathered: the rest of an unwanted frame is not kept. */
static void in_head(struct spop_conn *conn)
{
    const uint8_t *p = conn->in.p;
    enum verdict verdict = head_verdict(conn, p[4], be32(p + 5));
    if (verdict == SKIP) {
        conn->skip = SPOP_LENGTH_BYTES + (size_t)be32(p) - HEAD_BYTES;
        buffer_reset(&conn->in);
    }
}

/* Adds to the unfinished frame, as far as the next point of decision. Bytes used; 0 on failure. */
static size_t gather(struct spop_conn *conn, const uint8_t *p, size_t n)
{
    struct byte_buffer *in = &conn->in;
    size_t goal = in->len < SPOP_LENGTH_BYTES ? SPOP_LENGTH_BYTES
                  : in->len < HEAD_BYTES      ? HEAD_BYTES
                                              : SPOP_LENGTH_BYTES + (size_t)be32(in->p);
    size_t more = goal - in->len < n ? goal - in->len : n;
    if (!in_reserve(in, more, goal)) {
        conn_fail_memory(conn, "no memory for a frame");
        return 0;
    }
    memcpy(in->p + in->len, p, more);
    in->len += more;
    if (in->len < goal)
        return more;
    if (goal == SPOP_LENGTH_BYTES)
        (void)length_is_good(conn, be32(in->p)); /* a refusal shows in the state */
    else if (goal == HEAD_BYTES)
        in_head(conn);
    else
        in_complete(conn);
    return more;
}

/* Bytes used: all of them unless a limit was reached or the connection ended. */
static size_t consume(struct spop_conn *conn, const uint8_t *p, size_t n)
{
    size_t done = 0;
    conn->consuming = true;
    while (done < n && takes_frames(conn) && !limit_reached(conn)) {
        size_t used = 0;
        if (conn->skip != 0) {
            used = conn->skip < n - done ? conn->skip : n - done;
            conn->skip -= used;
        } else if (conn->in.len == 0) {
            used = consume_in_place(conn, p + done, n - done);
        }
        if (used == 0 && takes_frames(conn))
            used = gather(conn, p + done, n - done);
        done += used;
    }
    conn->consuming = false;
    return done;
}

/* After input was handled: memory of an ended connection, the end of a shutdown that waited. */
static void settle(struct spop_conn *conn)
{
    conn_finish_if_drained(conn);
    if (!takes_frames(conn))
        conn_drop_input(conn);
}

static void keep_waiting(struct spop_conn *conn, const uint8_t *p, size_t n)
{
    if (n == 0 || !takes_frames(conn))
        return;
    if (!buffer_reserve(&conn->waiting, n)) {
        conn_fail_memory(conn, "no memory for input");
        return;
    }
    memcpy(buffer_end(&conn->waiting), p, n);
    conn->waiting.len += n;
}

void spop_conn_feed(struct spop_conn *conn, const void *bytes, size_t n)
{
    SPOP_MUST(!conn->consuming && !conn->building);
    const uint8_t *p = bytes;
    if (n == 0 || !takes_frames(conn))
        return;
    if (conn->waiting.len != 0) {
        keep_waiting(conn, p, n);
        (void)spop_conn_resume(conn);
        return;
    }
    size_t done = consume(conn, p, n);
    keep_waiting(conn, p + done, n - done);
    settle(conn);
}

bool spop_conn_resume(struct spop_conn *conn)
{
    SPOP_MUST(!conn->consuming && !conn->building);
    struct byte_buffer *w = &conn->waiting;
    if (w->len == 0 || !takes_frames(conn) || limit_reached(conn))
        return false;
    size_t done = consume(conn, w->p + w->head, w->len);
    buffer_drop_front(w, done);
    settle(conn);
    return done != 0;
}

bool spop_conn_wants_input(const struct spop_conn *conn)
{
    return takes_frames(conn) && conn->waiting.len == 0 && !limit_reached(conn) && conn->out.len < conn->options.max_output;
}

size_t spop_conn_partial(const struct spop_conn *conn)
{
    return conn->in.len;
}
