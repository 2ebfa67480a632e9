/* A connection that behaves: framing, HELLO, NOTIFY and ACK, DISCONNECT. Test names begin with the rule they hold. */
#include "spoe_harness.h"

static void F1_F7_a_conversation_cut_at_every_place(void **state)
{
    (void)state;
    static const char in[] = HELLO_26 NOTIFY_AB("\x00", "\x01") NOTIFY_AB("\x02", "\x01") NOTIFY_AB("\x03", "\x02");
    static const char out[] = AGENT_HELLO ACK_OK("\x00", "\x01") ACK_OK("\x02", "\x01") ACK_OK("\x03", "\x02");
    for (size_t first = 0; first < sizeof in - 1; first++)
        for (size_t piece = 1; piece < sizeof in; piece = piece * 3 + 1) {
            struct peer *t = peer_new();
            feed(t, in, first);
            feed_in_pieces(t, in + first, sizeof in - 1 - first, piece);
            assert_output(t, out);
            assert_int_equal(t->notifies, 3);
            assert_int_equal(spop_conn_partial(t->conn), 0);
            assert_true(spop_conn_wants_input(t->conn));
            peer_free(t);
        }
}

static void F4_a_frame_of_exactly_the_maximum_is_taken(void **state)
{
    (void)state;
    struct spop_conn_options options = { .max_frame_size = 1000 };
    static uint8_t frame[1004];
    for (size_t piece = 1; piece <= sizeof frame; piece *= 10) {
        struct peer *t = peer_open_with(&options);
        uint8_t payload[993] = "\x01m\x01\x01" "a\x08";
        size_t at = 6 + spop_varint_encode(payload + 6, 985);
        memset(payload + at, 'x', sizeof payload - at);
        assert_int_equal(at, 993 - 985);
        assert_int_equal(put_frame(frame, SPOP_NOTIFY, SPOP_FIN, 1, 1, payload, sizeof payload), sizeof frame);
        feed_in_pieces(t, frame, sizeof frame, piece);
        assert_output(t, ACK_OK("\x01", "\x01"));
        assert_int_equal(t->payload_n, 993);
        frame[3]++; /* one more byte */
        feed(t, frame, 4);
        assert_int_equal(t->close.code, SPOP_FRAME_TOO_BIG);
        peer_free(t);
    }
}

static void F5_reserved_flags_and_abrt_are_ignored(void **state)
{
    (void)state;
    uint8_t frame[64];
    static const uint32_t flags[] = { 0x00000003, 0x80000001, 0xffffffff, 0x00000101 };
    for (unsigned i = 0; i < 4; i++) {
        struct peer *t = peer_open();
        feed(t, frame, put_frame(frame, SPOP_NOTIFY, flags[i], 1, 1, BYTES("\x01m\x00")));
        assert_output(t, ACK_OK("\x01", "\x01")); /* with FIN alone */
        peer_free(t);
    }
}

static void F6_stream_id_0_is_legal_in_a_notify_as_haproxy_2_counts_from_it(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    feed(t, BYTES(NOTIFY_AB("\x00", "\x01")));
    assert_output(t, ACK_OK("\x00", "\x01"));
    peer_free(t);
}

static void F8_unknown_types_are_skipped_whole_or_in_pieces(void **state)
{
    (void)state;
    static uint8_t in[80000];
    static const uint8_t types[] = { 4, 42, 100, 104, 255 };
    for (size_t piece = 1; piece <= sizeof in; piece = piece == 1 ? 7 : piece * 100) {
        struct peer *t = peer_open();
        size_t n = 0;
        for (unsigned i = 0; i < sizeof types; i++) {
            static const uint8_t junk[15000];
            n += put_frame(in + n, types[i], i, 0, 0, junk, i == 2 ? sizeof junk : i);
            memcpy(in + n, NOTIFY_AB("\x05", "\x01"), 19);
            n += 19;
        }
        feed_in_pieces(t, in, n, piece);
        assert_int_equal(t->notifies, 5);
        assert_int_equal(t->out_n, 5 * 18);
        assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_OPEN);
        assert_true(t->conn->in.cap <= 1024); /* the 15,000 bytes were not gathered */
        peer_free(t);
    }
}

static void F9_ids_are_echoed_byte_by_byte(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    uint8_t frame[64];
    feed(t, frame, put_frame(frame, SPOP_NOTIFY, SPOP_FIN, (uint64_t)1 << 40, UINT64_MAX, "", 0));
    assert_true(t->stream_id == (uint64_t)1 << 40 && t->frame_id == UINT64_MAX);
    uint8_t want[64] = { 0 };
    size_t n = put_frame(want, SPOP_ACK, SPOP_FIN, (uint64_t)1 << 40, UINT64_MAX, BYTES("\x01\x03\x02\x02ok\x11"));
    assert_int_equal(t->out_n, n);
    assert_memory_equal(t->out, want, n);
    peer_free(t);
}

/* --- HELLO --- */

static void H1_H8_H10_agent_hello_is_one_contiguous_output(void **state)
{
    (void)state;
    struct peer *t = peer_new();
    spop_conn_feed(t->conn, BYTES(HELLO_26));
    const void *p;
    size_t n;
    assert_true(spop_conn_output(t->conn, &p, &n));
    assert_int_equal(n, sizeof AGENT_HELLO - 1);
    assert_memory_equal(p, AGENT_HELLO, n);
    assert_int_equal(t->hellos, 1);
    assert_true(t->hello.pipelining && !t->hello.healthcheck);
    assert_true(spop_conn_negotiated(t->conn));
    peer_free(t);
}

#define HELLO_WITH(len, versions, size, capabilities)                                                                  \
    "\x00\x00\x00" len "\x01\x00\x00\x00\x01\x00\x00\x12supported-versions\x08" versions "\x0emax-frame-size" size     \
    "\x0c" "capabilities\x08" capabilities

static void H2_any_2_in_the_list_will_do(void **state)
{
    (void)state;
    static const struct { const char *p; size_t n; } good[] = {
        { BYTES(HELLO_WITH("\x45", "\x07" "1.0,2.0", "\x03\xfc\xf0\x1e", "\x00")) },
        { BYTES(HELLO_WITH("\x4d", "\x0f" "  1.0 ,  2.0  ,", "\x03\xfc\xf0\x1e", "\x00")) },
        { BYTES(HELLO_WITH("\x46", "\x08" "20.0,2.1", "\x03\xfc\xf0\x1e", "\x00")) },
    };
    for (unsigned i = 0; i < 3; i++) {
        struct peer *t = peer_new();
        feed(t, good[i].p, good[i].n);
        assert_output(t, AGENT_HELLO);
        assert_false(t->hello.pipelining);
        peer_free(t);
    }
}

static void H3_T5_max_frame_size_of_any_integer_type_and_the_smaller_one_wins(void **state)
{
    (void)state;
    static const struct { const char *p; size_t n; uint32_t ours, agreed; } cases[] = {
        { BYTES(HELLO_WITH("\x40", "\x03" "2.0", "\x02\xf0\x01", "\x00")) , 0, 256 },
        { BYTES(HELLO_WITH("\x41", "\x03" "2.0", "\x03\xfc\xf0\x06", "\x00")), 0, 16380 },
        { BYTES(HELLO_WITH("\x41", "\x03" "2.0", "\x04\xfc\xf0\x06", "\x00")), 4096, 4096 },
        { BYTES(HELLO_WITH("\x41", "\x03" "2.0", "\x05\xfc\xf0\x06", "\x00")), 16381, 16380 },
        { BYTES(HELLO_WITH("\x48", "\x03" "2.0", "\x05\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e", "\x00")), 9999, 9999 },
        { BYTES(HELLO_WITH("\x43", "\x03" "2.0", "\x03\xff\xf0\xfe\xfe\x7e", "\x00")), 0, 4 * 1024 * 1024 + 65536 },
        { BYTES(HELLO_WITH("\x41", "\x03" "2.0", "\x03\xfc\xf0\x06", "\x00")), 1, 256 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct spop_conn_options options = { .max_frame_size = cases[i].ours };
        struct peer *t = peer_new_with(&options);
        feed(t, cases[i].p, cases[i].n);
        assert_int_equal(t->hello.max_frame_size, cases[i].agreed);
        assert_int_equal(spop_conn_max_frame_size(t->conn), cases[i].agreed);
        uint8_t field[16] = { SPOP_UINT32 };
        size_t n = 1 + spop_varint_encode(field + 1, cases[i].agreed);
        assert_memory_equal(t->out + 11 + 8 + 5 + 15, field, n); /* behind version 2.0 and the key */
        peer_free(t);
    }
}

static void H4_capabilities_with_spaces_and_unknown_ones(void **state)
{
    (void)state;
    struct peer *t = peer_new();
    feed(t, BYTES(HELLO_WITH("\x57", "\x03" "2.0", "\x03\xfc\xf0\x1e", "\x16" "x-new ,  pipelining ,y")));
    assert_output(t, AGENT_HELLO); /* and never async or fragmentation */
    assert_true(t->hello.pipelining);
    peer_free(t);
    t = peer_new();
    feed(t, BYTES(HELLO_WITH("\x4d", "\x03" "2.0", "\x03\xfc\xf0\x1e", "\x0c" "pipelining-2")));
    assert_false(t->hello.pipelining);
    peer_free(t);
}

static void H5_healthcheck_is_answered_and_closed(void **state)
{
    (void)state;
    struct peer *t = peer_new();
    spop_conn_feed(t->conn, BYTES(HEALTHCHECK_26));
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSING);
    flush(t);
    assert_output(t, AGENT_HELLO); /* no DISCONNECT behind it */
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSED);
    assert_true(t->hello.healthcheck);
    assert_int_equal(t->close.cause, SPOP_CLOSE_HEALTHCHECK);
    assert_int_equal(spop_conn_engine_id(t->conn).n, 0);
    peer_free(t);
}

static void H6_engine_id_is_kept_and_cut(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    assert_true(spop_bytes_eq(spop_conn_engine_id(t->conn), SPOP_BYTES("1b63e112-4854-4a1f-87d5-b63cd4728b82")));
    peer_free(t);
    t = peer_new();
    uint8_t bytes[256];
    size_t n = sizeof HEALTHCHECK_26 - 1 - 13; /* without healthcheck */
    memcpy(bytes, HEALTHCHECK_26, n);
    memcpy(bytes + n, "\x09" "engine-id\x08\x64", 12);
    memset(bytes + n + 12, 'e', 100);
    bytes[3] = (uint8_t)(n + 112 - 4);
    feed(t, bytes, n + 112);
    assert_output(t, AGENT_HELLO);
    assert_int_equal(spop_conn_engine_id(t->conn).n, 64);
    peer_free(t);
}

static void H7_unknown_keys_are_skipped_by_type_and_duplicates_do_no_harm(void **state)
{
    (void)state;
    struct peer *t = peer_new();
    uint8_t bytes[512];
    size_t n = sizeof HELLO_26 - 1;
    memcpy(bytes, HELLO_26, n);
    static const char more[] = "\x01k\x00\x01k\x11\x01k\x07" "0123456789abcdef" "\x01k\x06" "0123\x00\x09\x02zz\x01k\x05\xff\x00"
                               "\x0emax-frame-size\x03\xfc\xf0\x06";
    memcpy(bytes + n, more, sizeof more - 1);
    n += sizeof more - 1;
    bytes[3] = (uint8_t)(n - 4);
    feed(t, bytes, n);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_OPEN);
    assert_int_equal(spop_conn_max_frame_size(t->conn), 16380); /* the last one counts */
    peer_free(t);
}

static void H11_a_check_that_only_connects_ends_quietly(void **state)
{
    (void)state;
    struct peer *t = peer_new();
    assert_false(spop_conn_negotiated(t->conn));
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_HELLO);
    spop_conn_eof(t->conn);
    assert_int_equal(t->close.cause, SPOP_CLOSE_EOF);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSED);
    const void *p;
    size_t n;
    assert_false(spop_conn_output(t->conn, &p, &n));
    peer_free(t);
}

/* --- NOTIFY and ACK --- */

static void N2_N3_one_ack_for_several_messages_and_for_none(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    feed(t, BYTES("\x00\x00\x00\x0d\x03\x00\x00\x00\x01\x01\x01\x01m\x00\x01n\x00"));
    feed(t, BYTES("\x00\x00\x00\x07\x03\x00\x00\x00\x01\x03\x01"));
    assert_output(t, ACK_OK("\x01", "\x01") ACK_OK("\x03", "\x01"));
    assert_int_equal(t->payload_n, 0);
    peer_free(t);
}

static void N5_answers_in_any_order(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x03", "\x01") NOTIFY_AB("\x05", "\x01")));
    assert_int_equal(spop_conn_in_flight(t->conn), 3);
    assert_int_equal(t->out_n, 0);
    answer(t, 2);
    answer(t, 0);
    feed(t, BYTES(NOTIFY_AB("\x07", "\x01"))); /* takes a place that was freed */
    answer(t, 3);
    answer(t, 1);
    flush(t);
    assert_output(t, ACK_OK("\x05", "\x01") ACK_OK("\x01", "\x01") ACK_OK("\x07", "\x01") ACK_OK("\x03", "\x01"));
    assert_int_equal(spop_conn_in_flight(t->conn), 0);
    peer_free(t);
}

static void N5_the_same_ids_twice_get_two_acks(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x01", "\x01")));
    answer(t, 1);
    answer(t, 0);
    flush(t);
    assert_output(t, ACK_OK("\x01", "\x01") ACK_OK("\x01", "\x01"));
    peer_free(t);
}

static void N5_an_answer_built_elsewhere(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01")));
    uint8_t buffer[64];
    assert_int_equal(spop_conn_ack_room(t->conn, t->tickets[0]), 65532 - 7);
    struct spop_ack a = spop_ack_make(buffer, sizeof buffer);
    assert_true(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("ok"), true));
    assert_int_equal(spop_conn_ack_send(t->conn, t->tickets[0], a.p, a.len), 0);
    flush(t);
    assert_output(t, ACK_OK("\x01", "\x01"));
    peer_free(t);
}

static void A4_no_ack_exceeds_the_negotiated_size(void **state)
{
    (void)state;
    static char big[5000];
    struct spop_conn_options options = { .max_frame_size = 256 };
    struct peer *t = peer_open_with(&options);
    t->answer_now = false;
    memset(big, 'v', sizeof big);
    uint8_t frame[64];
    size_t size = put_frame(frame, SPOP_NOTIFY, SPOP_FIN, UINT64_MAX, UINT64_MAX, "", 0);
    for (size_t value = 190; value < 270; value++) {
        unsigned i = t->notifies;
        struct spop_ack a;
        feed(t, frame, size);
        spop_conn_ack_begin(t->conn, t->tickets[i], &a);
        assert_true(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("ok"), true));
        bool fits = 5 + 20 + 7 + (3 + 2 + 1 + (value < 240 ? 1 : 2) + value) <= 256;
        assert_int_equal(spop_ack_set_string(&a, SPOP_TXN, SPOP_BYTES("v"), (struct spop_bytes){ big, value }), fits);
        assert_int_equal(a.dropped, !fits);
        spop_conn_ack_end(t->conn, &a);
        t->out_n = 0;
        flush(t);
        assert_true(t->out_n - 4 <= 256);
        assert_int_equal(t->out_n, fits ? 4 + 5 + 20 + 7 + 6 + (value < 240 ? 1 : 2) + value : 4 + 5 + 20 + 7);
    }
    unsigned i = t->notifies;
    feed(t, frame, size);
    size_t room = spop_conn_ack_room(t->conn, t->tickets[i]);
    assert_int_equal(room, 256 - 25);
    assert_int_equal(spop_conn_ack_send(t->conn, t->tickets[i], big, room + 1), -1);
    assert_int_equal(spop_conn_in_flight(t->conn), 1); /* still to be answered */
    assert_int_equal(spop_conn_ack_send(t->conn, t->tickets[i], big, room), 0);
    peer_free(t);
}

static void A4_A6_a_large_answer_grows_the_output_and_the_memory_goes_back(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    static char big[60000];
    memset(big, 'v', sizeof big);
    for (unsigned round = 0; round < 3; round++) {
        struct spop_ack a;
        feed(t, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x03", "\x01")));
        answer(t, round * 2);
        spop_conn_ack_begin(t->conn, t->tickets[round * 2 + 1], &a);
        assert_true(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("ok"), true));
        for (unsigned i = 0; i < 20; i++)
            assert_true(spop_ack_set_string(&a, SPOP_TXN, SPOP_BYTES("v"), (struct spop_bytes){ big, 3000 }));
        assert_false(spop_ack_set_string(&a, SPOP_TXN, SPOP_BYTES("v"), (struct spop_bytes){ big, 60000 }));
        spop_conn_ack_end(t->conn, &a);
        t->out_n = 0;
        flush(t);
        assert_memory_equal(t->out, ACK_OK("\x01", "\x01"), 18);
        assert_memory_equal(t->out + 18 + 4, "\x67\x00\x00\x00\x01\x03\x01\x01\x03\x02\x02ok\x11\x01\x03\x02\x01v\x08", 20);
        assert_int_equal(t->out_n, 18 + 18 + 20 * (6 + 3 + 3000));
        assert_true(t->conn->out.cap <= KEEP_BUFFER);
    }
    peer_free(t);
}

static void A5_an_ack_without_actions_is_possible(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01")));
    assert_int_equal(spop_conn_ack_send(t->conn, t->tickets[0], NULL, 0), 0);
    flush(t);
    assert_output(t, "\x00\x00\x00\x07\x67\x00\x00\x00\x01\x01\x01");
    peer_free(t);
}

/* --- DISCONNECT --- */

/* Captured from HAProxy 2.6.12 after `timeout idle`. */
#define DISCONNECT_26                                                                                                  \
    "\x00\x00\x00\x31\x02\x00\x00\x00\x01\x00\x00\x0bstatus-code\x03\x02\x07message\x08\x12" "a timeout occurred"

static void D1_D2_haproxy_disconnects(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x03", "\x01")));
    answer(t, 0);
    spop_conn_feed(t->conn, BYTES(DISCONNECT_26 NOTIFY_AB("\x05", "\x01")));
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSING);
    answer(t, 1); /* too late: goes nowhere */
    flush(t);
    assert_memory_equal(t->out, ACK_OK("\x01", "\x01"), 18); /* what was done is flushed first */
    assert_int_equal(disconnect_code(t->out + 18, t->out_n - 18), SPOP_NORMAL);
    assert_memory_equal(t->out + 18 + 4, "\x66\x00\x00\x00\x01\x00\x00\x0bstatus-code\x03\x00\x07message\x08", 29);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSED);
    assert_int_equal(t->notifies, 2);
    assert_int_equal(t->close.cause, SPOP_CLOSE_PEER);
    assert_int_equal(t->close.code, SPOP_TIMEOUT);
    assert_string_equal(t->peer_message, "a timeout occurred");
    assert_int_equal(spop_conn_in_flight(t->conn), 0);
    peer_free(t);
}

static void D1_T5_status_code_of_any_integer_type_or_missing(void **state)
{
    (void)state;
    static const struct { const char *p; size_t n; unsigned code; } cases[] = {
        { BYTES("\x0bstatus-code\x02\x05"), 5 },   { BYTES("\x0bstatus-code\x03\x2a"), 42 },
        { BYTES("\x0bstatus-code\x04\x00"), 0 },   { BYTES("\x0bstatus-code\x05\xff\x00"), 255 },
        { BYTES(""), 99 },                         { BYTES("\x0bstatus-code\x08\x01" "5"), 99 },
        { BYTES("\x07message\x08\x00\x01x\x00"), 99 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer *t = peer_open();
        uint8_t frame[64];
        feed(t, frame, put_frame(frame, SPOP_HAPROXY_DISCONNECT, SPOP_FIN, 0, 0, cases[i].p, cases[i].n));
        assert_int_equal(t->close.cause, SPOP_CLOSE_PEER);
        assert_int_equal(t->close.code, cases[i].code);
        assert_int_equal(disconnect_code(t->out, t->out_n), SPOP_NORMAL);
        peer_free(t);
    }
}

static void D2_eof_is_a_normal_close_and_late_answers_go_nowhere(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x03", "\x01") NOTIFY_AB("\x05", "\x01") "\x00\x00"));
    answer(t, 0);
    spop_conn_eof(t->conn);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSED);
    assert_int_equal(t->close.cause, SPOP_CLOSE_EOF);
    assert_int_equal(spop_conn_in_flight(t->conn), 2);
    answer(t, 1);
    assert_int_equal(spop_conn_ack_room(t->conn, t->tickets[2]), 0);
    spop_conn_ack_drop(t->conn, t->tickets[2]);
    assert_int_equal(spop_conn_in_flight(t->conn), 0);
    flush(t);
    assert_int_equal(t->out_n, 0);
    assert_int_equal(t->closings, 1);
    peer_free(t);
}

static void D3_D4_shutdown_before_hello_says_nothing(void **state)
{
    (void)state;
    struct peer *t = peer_new();
    feed(t, HELLO_26, 50);
    spop_conn_shutdown(t->conn);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSED);
    flush(t);
    assert_int_equal(t->out_n, 0);
    assert_int_equal(t->close.cause, SPOP_CLOSE_SHUTDOWN);
    peer_free(t);
}

static void D4_shutdown_waits_for_what_is_in_flight(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x03", "\x01")));
    spop_conn_shutdown(t->conn);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_OPEN);
    answer(t, 0);
    feed(t, BYTES(NOTIFY_AB("\x05", "\x01"))); /* was on its way */
    answer(t, 1);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_OPEN);
    answer(t, 2);
    flush(t);
    assert_memory_equal(t->out, ACK_OK("\x01", "\x01") ACK_OK("\x03", "\x01") ACK_OK("\x05", "\x01"), 54);
    assert_int_equal(disconnect_code(t->out + 54, t->out_n - 54), SPOP_NORMAL);
    assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSED);
    assert_int_equal(t->closings, 1);
    peer_free(t);
}

static void D4_shutdown_answers_all_of_a_read_and_at_once_when_idle(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->answer_now = false;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01")));
    spop_conn_shutdown(t->conn);
    t->answer_now = true;
    feed(t, BYTES(NOTIFY_AB("\x03", "\x01") NOTIFY_AB("\x05", "\x01")));
    answer(t, 0);
    flush(t);
    assert_memory_equal(t->out, ACK_OK("\x03", "\x01") ACK_OK("\x05", "\x01") ACK_OK("\x01", "\x01"), 54);
    assert_int_equal(disconnect_code(t->out + 54, t->out_n - 54), SPOP_NORMAL);
    peer_free(t);
    t = peer_open();
    spop_conn_shutdown(t->conn);
    flush(t);
    assert_int_equal(disconnect_code(t->out, t->out_n), SPOP_NORMAL);
    peer_free(t);
}

static void D1_the_owner_closes_with_its_own_code_even_inside_a_callback(void **state)
{
    (void)state;
    struct peer *t = peer_open();
    t->close_in_notify = true;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x03", "\x01")));
    assert_int_equal(t->notifies, 1);
    assert_memory_equal(t->payload, "\x01m\x01\x01" "a\x08\x01" "b", 8); /* was readable after the close */
    assert_int_equal(disconnect_code(t->out, t->out_n), SPOP_UNKNOWN_ERROR);
    assert_int_equal(t->close.cause, SPOP_CLOSE_OWNER);
    assert_int_equal(spop_conn_in_flight(t->conn), 0);
    peer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F1_F7_a_conversation_cut_at_every_place),
        cmocka_unit_test(F4_a_frame_of_exactly_the_maximum_is_taken),
        cmocka_unit_test(F5_reserved_flags_and_abrt_are_ignored),
        cmocka_unit_test(F6_stream_id_0_is_legal_in_a_notify_as_haproxy_2_counts_from_it),
        cmocka_unit_test(F8_unknown_types_are_skipped_whole_or_in_pieces),
        cmocka_unit_test(F9_ids_are_echoed_byte_by_byte),
        cmocka_unit_test(H1_H8_H10_agent_hello_is_one_contiguous_output),
        cmocka_unit_test(H2_any_2_in_the_list_will_do),
        cmocka_unit_test(H3_T5_max_frame_size_of_any_integer_type_and_the_smaller_one_wins),
        cmocka_unit_test(H4_capabilities_with_spaces_and_unknown_ones),
        cmocka_unit_test(H5_healthcheck_is_answered_and_closed),
        cmocka_unit_test(H6_engine_id_is_kept_and_cut),
        cmocka_unit_test(H7_unknown_keys_are_skipped_by_type_and_duplicates_do_no_harm),
        cmocka_unit_test(H11_a_check_that_only_connects_ends_quietly),
        cmocka_unit_test(N2_N3_one_ack_for_several_messages_and_for_none),
        cmocka_unit_test(N5_answers_in_any_order),
        cmocka_unit_test(N5_the_same_ids_twice_get_two_acks),
        cmocka_unit_test(N5_an_answer_built_elsewhere),
        cmocka_unit_test(A4_no_ack_exceeds_the_negotiated_size),
        cmocka_unit_test(A4_A6_a_large_answer_grows_the_output_and_the_memory_goes_back),
        cmocka_unit_test(A5_an_ack_without_actions_is_possible),
        cmocka_unit_test(D1_D2_haproxy_disconnects),
        cmocka_unit_test(D1_T5_status_code_of_any_integer_type_or_missing),
        cmocka_unit_test(D2_eof_is_a_normal_close_and_late_answers_go_nowhere),
        cmocka_unit_test(D3_D4_shutdown_before_hello_says_nothing),
        cmocka_unit_test(D4_shutdown_waits_for_what_is_in_flight),
        cmocka_unit_test(D4_shutdown_answers_all_of_a_read_and_at_once_when_idle),
        cmocka_unit_test(D1_the_owner_closes_with_its_own_code_even_inside_a_callback),
    };
    return cmocka_run_group_tests_name("spoe connection", tests, NULL, NULL);
}
