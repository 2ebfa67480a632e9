/* Memory, limits and ownership: what a peer can make a connection hold, and what the owner may not do. */
#include "spoe_harness.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* A NOTIFY of `total` bytes on the wire, message "m" with one BINARY. The caller frees it. */
static uint8_t *big_notify(size_t total)
{
    uint8_t *frame = calloc(1, total);
    assert_non_null(frame);
    size_t payload = total - 11, length = payload - 6 - spop_varint_size(payload);
    while (6 + spop_varint_size(length) + length < payload)
        length++;
    assert_int_equal(6 + spop_varint_size(length) + length, payload);
    uint8_t head[32] = "\x01m\x01\x01" "a\x09";
    size_t n = put_frame(frame, SPOP_NOTIFY, SPOP_FIN, 1, 1, head, 6 + spop_varint_encode(head + 6, length));
    memset(frame + n, 'b', total - n);
    uint32_t prefix = __builtin_bswap32((uint32_t)(total - 4));
    memcpy(frame, &prefix, 4);
    return frame;
}

/* The captured HELLO with max-frame-size 2^32-1, so that ours decides. */
static struct peer *peer_open_wide(const struct spop_conn_options *options)
{
    static const char wide[] = "\x00\x00\x00\x43\x01\x00\x00\x00\x01\x00\x00\x12supported-versions\x08\x03"
                               "2.0\x0emax-frame-size\x03\xff\xf0\xfe\xfe\x7e\x0c"
                               "capabilities\x08\x00";
    struct peer *t = peer_new_with(options);
    feed(t, wide, sizeof wide - 1);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_OPEN);
    t->out_n = 0;
    return t;
}

static void F3_an_announced_length_allocates_nothing_before_bytes_come(void **state)
{
    (void)state;
    struct peer *t = peer_open_wide(NULL);
    feed(t, BYTES("\x00\x40\x00\x00\x03\x00\x00\x00\x01\x01\x01"));
    assert_true(t->conn->in.cap <= 1024);
    static const uint8_t some[100000];
    for (size_t sent = 11; sent < 4000000; sent += sizeof some) {
        feed(t, some, sizeof some);
        assert_true(t->conn->in.cap <= 2 * (sent + sizeof some));
        assert_int_equal(spop_conn_partial(t->conn), sent + sizeof some);
    }
    spop_conn_eof(t->conn);
    assert_int_equal(t->conn->in.cap, 0);
    peer_free(t);
}

static void F7_four_megabytes_byte_by_byte_move_in_few_steps(void **state)
{
    (void)state;
    enum { TOTAL = 4 * 1024 * 1024 };
    uint8_t *frame = big_notify(TOTAL);
    struct peer *t = peer_open_wide(NULL);
    unsigned moves = 0;
    size_t cap = t->conn->in.cap;
    for (size_t i = 0; i < TOTAL; i++) {
        spop_conn_feed(t->conn, frame + i, 1);
        if (t->conn->in.cap != cap && i + 1 < TOTAL) {
            assert_true(t->conn->in.cap <= TOTAL);
            moves++;
        }
        cap = t->conn->in.cap;
    }
    flush(t);
    assert_output(t, ACK_OK("\x01", "\x01"));
    assert_int_equal(t->payload_n, TOTAL - 11);
    assert_true(moves <= 16);             /* doubling: linear work */
    assert_int_equal(t->conn->in.cap, 0); /* and given back */
    free(frame);
    peer_free(t);
}

static void a_gathered_frame_is_taken_without_a_copy(void **state)
{
    (void)state;
    uint8_t *frame = big_notify(200000);
    for (size_t piece = 65536; piece <= 200000; piece += 200000 - 65536) {
        struct peer *t = peer_open_wide(NULL);
        t->take = true;
        feed_in_pieces(t, frame, 200000, piece);
        assert_int_equal(t->notifies, 1);
        assert_int_equal(t->last_was_cheap, piece < 200000);
        assert_memory_equal(t->payload, frame + 11, sizeof t->payload);
        assert_null(t->conn->in.p);
        assert_output(t, ACK_OK("\x01", "\x01"));
        feed_in_pieces(t, BYTES(NOTIFY_AB("\x03", "\x01")), 5); /* and goes on with a new buffer */
        assert_false(t->last_was_cheap);                        /* 19 bytes in 512: a copy is better */
        assert_output(t, ACK_OK("\x01", "\x01") ACK_OK("\x03", "\x01"));
        peer_free(t);
    }
    free(frame);
}

static void an_empty_payload_can_be_taken(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->take = true;
    feed(t, BYTES("\x00\x00\x00\x07\x03\x00\x00\x00\x01\x01\x01"));
    assert_output(t, ACK_OK("\x01", "\x01"));
    peer_free(t);
}

/* Six NOTIFYs and a partial seventh come at once; only `at_once` may be handed out before an answer. */
static void check_pause(const struct spop_conn_options *options, unsigned at_once)
{
    static const char six[] = NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x02", "\x01") NOTIFY_AB("\x03", "\x01") NOTIFY_AB("\x04", "\x01")
        NOTIFY_AB("\x05", "\x01") NOTIFY_AB("\x06", "\x01") "\x00\x00";
    struct peer *t = peer_open_with(options);
    t->answer_now = false;
    feed(t, six, sizeof six - 1);
    assert_int_equal(t->notifies, at_once);
    assert_false(spop_conn_wants_input(t->conn));
    assert_false(spop_conn_resume(t->conn));
    feed(t, BYTES("\x00")); /* an owner that reads on all the same loses nothing */
    for (unsigned i = 0; i < 6; i++) {
        answer(t, i);
        assert_int_equal(spop_conn_resume(t->conn), i + at_once < 6 || i + at_once == 6);
        assert_int_equal(t->notifies, i + 1 + at_once < 6 ? i + 1 + at_once : 6);
    }
    assert_true(spop_conn_wants_input(t->conn));
    assert_int_equal(spop_conn_partial(t->conn), 3);
    flush(t);
    assert_int_equal(t->out_n, 6 * 18);
    peer_free(t);
}

static void input_pauses_at_max_in_flight(void **state)
{
    (void)state;
    check_pause(&(struct spop_conn_options){ .max_in_flight = 2 }, 2);
    check_pause(&(struct spop_conn_options){ .max_in_flight = 1 }, 1);
}

static void input_pauses_at_max_in_flight_bytes(void **state)
{
    (void)state;
    check_pause(&(struct spop_conn_options){ .max_in_flight_bytes = 9 }, 2); /* 8 bytes each */
    check_pause(&(struct spop_conn_options){ .max_in_flight_bytes = 1 }, 1); /* one is always let in */
}

static void nothing_more_is_read_while_output_is_not_taken(void **state)
{
    (void)state;
    struct spop_conn_options options = { .max_output = 30 };
    struct peer *t = peer_open_with(&options);
    spop_conn_feed(t->conn, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x02", "\x01") NOTIFY_AB("\x03", "\x01")));
    assert_int_equal(t->notifies, 3); /* what came in one read is handled: nobody would wake us for the rest */
    assert_false(spop_conn_wants_input(t->conn));
    assert_false(spop_conn_resume(t->conn));
    flush(t);
    assert_true(spop_conn_wants_input(t->conn));
    assert_output(t, ACK_OK("\x01", "\x01") ACK_OK("\x02", "\x01") ACK_OK("\x03", "\x01"));
    peer_free(t);
}

static void a_bad_frame_that_waited_is_refused_when_its_turn_comes(void **state)
{
    (void)state;
    struct spop_conn_options options = { .max_in_flight = 1 };
    struct peer *t = peer_open_with(&options);
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01") "\x00\x00\x00\x00"));
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_OPEN);
    answer(t, 0);
    assert_true(spop_conn_resume(t->conn));
    assert_int_equal(t->close.code, SPOP_INVALID_FRAME);
    flush(t);
    assert_memory_equal(t->out, ACK_OK("\x01", "\x01"), 18);
    assert_int_equal(disconnect_code(t->out + 18, t->out_n - 18), SPOP_INVALID_FRAME);
    peer_free(t);
}

static void output_may_be_taken_in_any_pieces(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    uint8_t got[2000], want[2000];
    size_t got_n = 0, want_n = 0;
    for (unsigned i = 1; i <= 100; i++) {
        uint8_t frame[64];
        spop_conn_feed(t->conn, frame, put_frame(frame, SPOP_NOTIFY, SPOP_FIN, i, 1, "", 0));
        want_n += put_frame(want + want_n, SPOP_ACK, SPOP_FIN, i, 1, BYTES("\x01\x03\x02\x02ok\x11"));
        const void *p;
        size_t n;
        if (!spop_conn_output(t->conn, &p, &n))
            continue;
        n = i == 100 ? n : (i * 7) % (n + 1); /* the socket takes less than there is */
        memcpy(got + got_n, p, n);
        got_n += n;
        spop_conn_sent(t->conn, n);
    }
    assert_int_equal(got_n, want_n);
    assert_memory_equal(got, want, want_n);
    peer_free(t);
}

static void many_in_flight_answered_backwards(void **state)
{
    (void)state;
    struct spop_conn_options options = { .max_in_flight = 3000 };
    struct peer *t = peer_open_with(&options);
    t->answer_now = false;
    for (unsigned round = 0; round < 2; round++) {
        uint8_t frame[64];
        t->notifies = 0;
        for (unsigned i = 0; i < 3000; i++)
            spop_conn_feed(t->conn, frame, put_frame(frame, SPOP_NOTIFY, SPOP_FIN, i, 1, "", 0));
        assert_int_equal(spop_conn_in_flight(t->conn), 3000);
        for (unsigned i = 3000; i-- > 0;)
            answer(t, i);
        t->out_n = 0;
        flush(t);
        size_t at = 0;
        for (unsigned i = 3000; i-- > 0;) {
            uint8_t want[64];
            size_t n = put_frame(want, SPOP_ACK, SPOP_FIN, i, 1, BYTES("\x01\x03\x02\x02ok\x11"));
            assert_memory_equal(t->out + at, want, n);
            at += n;
        }
        assert_int_equal(at, t->out_n);
    }
    peer_free(t);
}

/* --- our own bugs end the process, in release builds too --- */

static void assert_aborts(void (*f)(struct peer *))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL); /* cmocka's own handler would go on */
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        struct peer *t = peer_open();
        t->answer_now = false;
        spop_conn_feed(t->conn, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x02", "\x01")));
        f(t);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void answer_twice(struct peer *t)
{
    answer(t, 0);
    answer(t, 0);
}

static void answer_with_an_old_ticket(struct peer *t)
{
    answer(t, 0);
    spop_conn_feed(t->conn, BYTES(NOTIFY_AB("\x03", "\x01"))); /* in the same place */
    spop_conn_ack_drop(t->conn, t->tickets[0]);
}

static void answer_with_a_ticket_from_nowhere(struct peer *t)
{
    spop_conn_ack_drop(t->conn, (struct spop_ticket){ .slot = 100000, .generation = 1 });
}

static void say_more_was_sent_than_there_is(struct peer *t)
{
    spop_conn_sent(t->conn, 1);
}

static void N5_a_second_answer_is_our_bug(void **state)
{
    (void)state;
    assert_aborts(answer_twice);
    assert_aborts(answer_with_an_old_ticket);
    assert_aborts(answer_with_a_ticket_from_nowhere);
    assert_aborts(say_more_was_sent_than_there_is);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F3_an_announced_length_allocates_nothing_before_bytes_come),
        cmocka_unit_test(F7_four_megabytes_byte_by_byte_move_in_few_steps),
        cmocka_unit_test(a_gathered_frame_is_taken_without_a_copy),
        cmocka_unit_test(an_empty_payload_can_be_taken),
        cmocka_unit_test(input_pauses_at_max_in_flight),
        cmocka_unit_test(input_pauses_at_max_in_flight_bytes),
        cmocka_unit_test(nothing_more_is_read_while_output_is_not_taken),
        cmocka_unit_test(a_bad_frame_that_waited_is_refused_when_its_turn_comes),
        cmocka_unit_test(output_may_be_taken_in_any_pieces),
        cmocka_unit_test(many_in_flight_answered_backwards),
        cmocka_unit_test(N5_a_second_answer_is_our_bug),
    };
    return cmocka_run_group_tests_name("spoe limits", tests, NULL, NULL);
}
