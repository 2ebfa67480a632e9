/* Every frame that must be refused, with the DISCONNECT code it earns, fed whole, byte by byte and cut at every place: the outcome may
 * not depend on how the bytes arrive. Test names begin with the rule they hold. */
#include "spoe_harness.h"
#include "spoe_hostile.h"

static void check(const struct hostile *h, size_t first, size_t piece)
{
    struct peer *t = h->opened ? peer_open() : peer_new();
    feed(t, h->bytes, first);
    feed_in_pieces(t, h->bytes + first, h->n - first, piece);
    if (disconnect_code(t->out, t->out_n) != h->code)
        print_error("%s: first %zu, pieces of %zu\n", h->rule, first, piece);
    assert_refused(t, h->code);
    assert_int_equal(t->notifies, 0);
    assert_non_null(t->close.reason);
    size_t said = t->out_n;
    feed(t, BYTES(NOTIFY_AB("\x01", "\x01"))); /* deaf from here on */
    assert_int_equal(t->out_n, said);
    assert_int_equal(t->notifies, 0);
    assert_false(spop_conn_wants_input(t->conn));
    assert_int_equal(spop_conn_partial(t->conn), 0);
    peer_free(t);
}

static void every_rule_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTILE_FRAMES; i++)
        check(&hostile_frames[i], 0, hostile_frames[i].n);
}

static void every_rule_byte_by_byte(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTILE_FRAMES; i++)
        check(&hostile_frames[i], 0, 1);
}

static void every_rule_cut_at_every_place(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTILE_FRAMES; i++)
        for (size_t cut = 1; cut < hostile_frames[i].n; cut++)
            check(&hostile_frames[i], cut, hostile_frames[i].n);
}

static void every_rule_with_a_good_frame_after_it_in_the_same_read(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTILE_FRAMES; i++) {
        struct peer *t = hostile_frames[i].opened ? peer_open() : peer_new();
        uint8_t both[512];
        memcpy(both, hostile_frames[i].bytes, hostile_frames[i].n);
        memcpy(both + hostile_frames[i].n, NOTIFY_AB("\x01", "\x01"), 19);
        feed(t, both, hostile_frames[i].n + 19);
        assert_refused(t, hostile_frames[i].code);
        assert_int_equal(t->notifies, 0);
        peer_free(t);
    }
}

static void what_came_before_the_bad_frame_is_still_answered(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTILE_FRAMES; i++) {
        if (!hostile_frames[i].opened)
            continue;
        struct peer *t = peer_open();
        uint8_t both[512];
        memcpy(both, NOTIFY_AB("\x01", "\x01"), 19);
        memcpy(both + 19, hostile_frames[i].bytes, hostile_frames[i].n);
        feed(t, both, hostile_frames[i].n + 19);
        assert_memory_equal(t->out, ACK_OK("\x01", "\x01"), 18);
        assert_int_equal(disconnect_code(t->out + 18, t->out_n - 18), hostile_frames[i].code);
        assert_int_equal(spop_conn_state(t->conn), SPOP_CONN_CLOSED);
        peer_free(t);
    }
}

/* Every single-byte change of a good conversation ends in answers or in a clean refusal: never a stall, never a crash. */
static void no_single_changed_byte_confuses(void **state)
{
    (void)state;
    static const char good[] = HELLO_26 NOTIFY_AB("\x01", "\x01") NOTIFY_AB("\x02", "\x01");
    static const uint8_t flips[] = { 0x01, 0x80, 0xff, 0x0f, 0xf0, 0x10 };
    for (size_t at = 0; at < sizeof good - 1; at++)
        for (unsigned k = 0; k < sizeof flips; k++) {
            uint8_t bytes[sizeof good - 1];
            memcpy(bytes, good, sizeof bytes);
            bytes[at] ^= flips[k];
            struct peer *whole = peer_new(), *pieces = peer_new();
            feed(whole, bytes, sizeof bytes);
            feed_in_pieces(pieces, bytes, sizeof bytes, 1);
            assert_int_equal(whole->out_n, pieces->out_n);
            if (whole->out_n != 0)
                assert_memory_equal(whole->out, pieces->out, whole->out_n);
            assert_int_equal(spop_conn_state(whole->conn), spop_conn_state(pieces->conn));
            assert_int_equal(whole->close.code, pieces->close.code);
            assert_int_equal(spop_conn_in_flight(whole->conn), 0);
            peer_free(whole);
            peer_free(pieces);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_whole),
        cmocka_unit_test(every_rule_byte_by_byte),
        cmocka_unit_test(every_rule_cut_at_every_place),
        cmocka_unit_test(every_rule_with_a_good_frame_after_it_in_the_same_read),
        cmocka_unit_test(what_came_before_the_bad_frame_is_still_answered),
        cmocka_unit_test(no_single_changed_byte_confuses),
    };
    return cmocka_run_group_tests_name("spoe hostile frames", tests, NULL, NULL);
}
