/* Varints (V), typed values (T), messages (N1, N3, N4), actions (A): literal bytes both ways. Rules are doc/SPOE.txt's, numbered. */
#include "spoe_harness.h"

struct vector {
    uint64_t v;
    const char *bytes;
    size_t n;
};

/* Printed by HAProxy's own encoder. */
static const struct vector haproxy_varints[] = {
    { 0, BYTES("\x00") },
    { 239, BYTES("\xef") },
    { 240, BYTES("\xf0\x00") },
    { 255, BYTES("\xff\x00") },
    { 256, BYTES("\xf0\x01") },
    { 2287, BYTES("\xff\x7f") },
    { 2288, BYTES("\xf0\x80\x00") },
    { 16380, BYTES("\xfc\xf0\x06") },
    { 264431, BYTES("\xff\xff\x7f") },
    { 264432, BYTES("\xf0\x80\x80\x00") },
    { 33818863, BYTES("\xff\xff\xff\x7f") },
    { 33818864, BYTES("\xf0\x80\x80\x80\x00") },
    { 4294967295, BYTES("\xff\xf0\xfe\xfe\x7e") },
    { 4328786159, BYTES("\xff\xff\xff\xff\x7f") },
    { 4328786160, BYTES("\xf0\x80\x80\x80\x80\x00") },
    { INT64_MAX, BYTES("\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x06") },
    { UINT64_MAX, BYTES("\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e") },
};

static void V2_haproxys_vectors_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof haproxy_varints / sizeof *haproxy_varints; i++) {
        const struct vector *x = &haproxy_varints[i];
        uint8_t out[SPOP_VARINT_MAX];
        uint64_t v;
        assert_int_equal(spop_varint_encode(out, x->v), x->n);
        assert_memory_equal(out, x->bytes, x->n);
        assert_int_equal(spop_varint_size(x->v), x->n);
        assert_int_equal(spop_varint_decode((const uint8_t *)x->bytes, x->n, &v), x->n);
        assert_true(v == x->v);
        for (size_t cut = 0; cut < x->n; cut++)
            assert_int_equal(spop_varint_decode((const uint8_t *)x->bytes, cut, &v), 0);
    }
}

static void V1_every_size_boundary_round_trips(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t out[SPOP_VARINT_MAX];
        uint64_t v, back = 0;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        v = i < 70000 ? i : seed >> (i % 64);
        size_t n = spop_varint_encode(out, v);
        assert_int_equal(spop_varint_decode(out, n, &back), n);
        assert_true(back == v && spop_varint_size(v) == n);
    }
}

static void V3_eleventh_byte_and_values_over_64_bits_are_refused(void **state)
{
    (void)state;
    static const struct vector bad[] = {
        { 0, BYTES("\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00") }, /* 11 bytes */
        { 0, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") },
        { 0, BYTES("\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0f") }, /* 2^64-1 + 2^60 */
        { 0, BYTES("\xf0\xf1\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e") }, /* 2^64 */
        { 0, BYTES("\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x10") }, /* bits beyond the 64th */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v = 7;
        assert_int_equal(spop_varint_decode((const uint8_t *)bad[i].bytes, bad[i].n, &v), -1);
        assert_int_equal(v, 7);
        struct spop_cursor c = spop_cursor_make((struct spop_bytes){ bad[i].bytes, bad[i].n });
        assert_int_equal(spop_read_varint(&c), 0);
        assert_true(c.bad && spop_cursor_left(&c) == 0);
    }
}

static void V4_a_length_that_wraps_the_pointer_is_refused(void **state)
{
    (void)state;
    /* string of length 2^64-1, 2^63-1, 2^32-1, one more than there is */
    static const struct vector bad[] = {
        { 0, BYTES("\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e" "abc") },
        { 0, BYTES("\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x06" "abc") },
        { 0, BYTES("\xff\xf0\xfe\xfe\x7e" "abc") },
        { 0, BYTES("\x04" "abc") },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct spop_cursor c = spop_cursor_make((struct spop_bytes){ bad[i].bytes, bad[i].n });
        struct spop_bytes s = spop_read_string(&c);
        assert_true(c.bad);
        assert_int_equal(s.n, 0);
        assert_int_equal(spop_read_u8(&c), 0); /* sticky */
    }
}

static void V5_a_last_group_of_zero_is_legal(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_int_equal(spop_varint_decode((const uint8_t *)"\xf0\x80\x00", 3, &v), 3);
    assert_int_equal(v, 2288);
}

static struct spop_value read_one(const char *bytes, size_t n, bool *bad)
{
    uint8_t *exact = malloc(n != 0 ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    struct spop_cursor c = spop_cursor_make((struct spop_bytes){ (const char *)exact, n });
    struct spop_value v = spop_read_value(&c);
    *bad = c.bad || spop_cursor_left(&c) != 0;
    if (v.bytes.n != 0)
        v.bytes.p = bytes + (v.bytes.p - (const char *)exact);
    free(exact);
    return v;
}

static void T1_T2_every_type_from_literal_bytes(void **state)
{
    (void)state;
    bool bad;
    assert_int_equal(read_one(BYTES("\x00"), &bad).type, SPOP_NULL);
    assert_false(bad);
    assert_true(read_one(BYTES("\x11"), &bad).boolean);
    assert_false(read_one(BYTES("\x01"), &bad).boolean);
    assert_int_equal(read_one(BYTES("\x02\x05"), &bad).integer, 5);
    assert_int_equal(read_one(BYTES("\x03\xff\xf0\xfe\xfe\x7e"), &bad).integer, 4294967295);
    assert_int_equal(read_one(BYTES("\x05\xfc\xf0\x06"), &bad).integer, 16380);
    assert_false(bad);
    struct spop_value ip = read_one(BYTES("\x06\x7f\x00\x00\x01"), &bad);
    assert_int_equal(ip.bytes.n, 4);
    assert_memory_equal(ip.bytes.p, "\x7f\x00\x00\x01", 4);
    assert_int_equal(read_one(BYTES("\x07" "0123456789abcdef"), &bad).bytes.n, 16);
    assert_true(spop_bytes_eq(read_one(BYTES("\x08\x03" "abc"), &bad).bytes, SPOP_BYTES("abc")));
    assert_true(spop_bytes_eq(read_one(BYTES("\x09\x03" "a\0c"), &bad).bytes, SPOP_BYTES("a\0c")));
    assert_false(bad);
    read_one(BYTES("\x08\x00"), &bad);
    assert_false(bad);
}

static void T2_reserved_types_cannot_be_skipped(void **state)
{
    (void)state;
    for (unsigned type = 10; type < 16; type++) {
        char bytes[4] = { (char)type, 1, 2, 3 };
        bool bad;
        read_one(bytes, sizeof bytes, &bad);
        assert_true(bad);
    }
}

static void T2_every_truncation_is_bad(void **state)
{
    (void)state;
    static const struct vector whole[] = {
        { 0, BYTES("\x11") }, { 0, BYTES("\x04\xf9\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e") }, { 0, BYTES("\x06\x7f\x00\x00\x01") },
        { 0, BYTES("\x07" "0123456789abcdef") }, { 0, BYTES("\x08\x03" "abc") }, { 0, BYTES("\x09\x03" "abc") },
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        for (size_t cut = 0; cut <= whole[i].n; cut++) {
            bool bad;
            read_one(whole[i].bytes, cut, &bad);
            assert_int_equal(bad, cut != whole[i].n);
        }
}

static void T3_negative_int64_as_haproxy_sends_it(void **state)
{
    (void)state;
    bool bad;
    struct spop_value v = read_one(BYTES("\x04\xf9\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"), &bad);
    assert_false(bad);
    assert_true((int64_t)v.integer == -7);
}

static void T4_flags_of_other_types_are_ignored(void **state)
{
    (void)state;
    bool bad;
    assert_true(spop_bytes_eq(read_one(BYTES("\x18\x01x"), &bad).bytes, SPOP_BYTES("x")));
    assert_false(bad);
    assert_int_equal(read_one(BYTES("\xf4\x07"), &bad).integer, 7);
    assert_true(read_one(BYTES("\xf1"), &bad).boolean);
    assert_false(read_one(BYTES("\xe1"), &bad).boolean); /* only bit 0x10 says true */
    assert_false(bad);
}

/* --- messages --- */

static void walk(struct spop_bytes payload, char *text, size_t size)
{
    struct spop_messages it = spop_messages_make(payload);
    struct spop_bytes name;
    struct spop_value v;
    size_t n = 0;
    while (spop_next_message(&it, &name)) {
        n += (size_t)snprintf(text + n, size - n, "[%.*s", (int)name.n, name.p);
        while (spop_next_arg(&it, &name, &v))
            n += (size_t)snprintf(text + n, size - n, " %.*s:%d", (int)name.n, name.n != 0 ? name.p : "", (int)v.type);
        n += (size_t)snprintf(text + n, size - n, "]");
    }
    snprintf(text + n, size - n, "%s", it.cursor.bad ? "!" : "");
}

static void N1_N2_several_messages_unnamed_and_null_arguments(void **state)
{
    (void)state;
    char text[256];
    walk(SPOP_BYTES("\x05" "check\x03\x06method\x08\x04POST\x04none\x00\x00\x08\x04POST\x05other\x00\x01z\x01\x01y\x11"), text, sizeof text);
    assert_string_equal(text, "[check method:8 none:0 :8][other][z y:1]");
    assert_true(spop_messages_valid(SPOP_BYTES("\x01z\x01\x01y\x11")));
}

static void N1_255_arguments(void **state)
{
    (void)state;
    uint8_t payload[3 + 255 * 2];
    memcpy(payload, "\x01m\xff", 3);
    memset(payload + 3, 0, 255 * 2); /* name "", value NULL */
    struct spop_bytes b = { (const char *)payload, sizeof payload };
    struct spop_messages it = spop_messages_make(b);
    struct spop_bytes name;
    struct spop_value v;
    unsigned args = 0;
    assert_true(spop_next_message(&it, &name));
    while (spop_next_arg(&it, &name, &v))
        args++;
    assert_int_equal(args, 255);
    assert_true(spop_messages_valid(b));
    b.n--;
    assert_false(spop_messages_valid(b));
}

static void N3_an_empty_payload_holds_no_message(void **state)
{
    (void)state;
    char text[8];
    assert_true(spop_messages_valid((struct spop_bytes){ NULL, 0 }));
    walk((struct spop_bytes){ NULL, 0 }, text, sizeof text);
    assert_string_equal(text, "");
}

static void N4_arguments_left_alone_are_skipped_and_truncation_is_bad(void **state)
{
    (void)state;
    static const char payload[] = "\x05" "check\x02\x01" "a\x08\x04POST\x01" "b\x06\x7f\x00\x00\x01\x01z\x01\x01y\x11";
    struct spop_bytes b = { payload, sizeof payload - 1 };
    struct spop_messages it = spop_messages_make(b);
    struct spop_bytes name;
    assert_true(spop_next_message(&it, &name));
    assert_true(spop_next_message(&it, &name)); /* without reading the first one's arguments */
    assert_true(spop_bytes_eq(name, SPOP_BYTES("z")));
    assert_false(spop_next_message(&it, &name));
    assert_false(it.cursor.bad);
    size_t first = sizeof payload - 1 - 6; /* where the second message begins: the one legal cut */
    for (size_t cut = 1; cut < b.n; cut++)
        assert_int_equal(spop_messages_valid((struct spop_bytes){ payload, cut }), cut == first);
}

/* --- actions --- */

static void A1_actions_byte_by_byte(void **state)
{
    (void)state;
    uint8_t buffer[128];
    struct spop_ack a = spop_ack_make(buffer, sizeof buffer);
    assert_true(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("ok"), true));
    assert_true(spop_ack_set_bool(&a, SPOP_SESS, SPOP_BYTES("b"), false));
    assert_true(spop_ack_set_int(&a, SPOP_REQ, SPOP_BYTES("i"), -7));
    assert_true(spop_ack_set_string(&a, SPOP_RES, SPOP_BYTES("s"), SPOP_BYTES("x y")));
    assert_true(spop_ack_set_binary(&a, SPOP_PROC, SPOP_BYTES("d"), SPOP_BYTES("\0")));
    assert_true(spop_ack_unset(&a, SPOP_TXN, SPOP_BYTES("u")));
    static const char want[] = "\x01\x03\x02\x02ok\x11"
                               "\x01\x03\x01\x01" "b\x01"
                               "\x01\x03\x03\x01i\x04\xf9\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"
                               "\x01\x03\x04\x01s\x08\x03x y"
                               "\x01\x03\x00\x01" "d\x09\x01\x00"
                               "\x02\x02\x02\x01u";
    assert_int_equal(a.len, sizeof want - 1);
    assert_memory_equal(buffer, want, sizeof want - 1);
    assert_int_equal(a.dropped, 0);
}

static void A2_the_verdict_stays_when_later_variables_do_not_fit(void **state)
{
    (void)state;
    uint8_t buffer[24];
    struct spop_ack a = spop_ack_make(buffer, sizeof buffer);
    assert_true(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("ok"), true));
    assert_false(spop_ack_set_string(&a, SPOP_TXN, SPOP_BYTES("long"), SPOP_BYTES("0123456789")));
    assert_true(spop_ack_set_int(&a, SPOP_TXN, SPOP_BYTES("i"), 1));
    assert_int_equal(a.dropped, 1);
    assert_memory_equal(buffer, "\x01\x03\x02\x02ok\x11\x01\x03\x02\x01i\x04\x01", 14);
    assert_int_equal(a.len, 14);
}

static void A2_a_group_of_variables_can_be_taken_back(void **state)
{
    (void)state;
    uint8_t buffer[64];
    struct spop_ack a = spop_ack_make(buffer, sizeof buffer);
    assert_true(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("ok"), true));
    size_t mark = a.len;
    assert_true(spop_ack_set_int(&a, SPOP_TXN, SPOP_BYTES("half"), 1));
    spop_ack_rewind(&a, mark);
    assert_true(spop_ack_unset(&a, SPOP_TXN, SPOP_BYTES("u")));
    assert_int_equal(a.len, 7 + 5);
    assert_memory_equal(buffer + 7, "\x02\x02\x02\x01u", 5);
}

static void A3_names_haproxy_would_drop_are_refused(void **state)
{
    (void)state;
    uint8_t buffer[512];
    static const char long_name[] = "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff"; /* 60 */
    struct spop_ack a = spop_ack_make(buffer, sizeof buffer);
    /* "txn.p." + 57 is 63, "proc.p." + 56 is 63 */
    assert_true(spop_ack_set_bool(&a, SPOP_TXN, (struct spop_bytes){ long_name, 57 }, true));
    assert_false(spop_ack_set_bool(&a, SPOP_TXN, (struct spop_bytes){ long_name, 58 }, true));
    assert_true(spop_ack_unset(&a, SPOP_PROC, (struct spop_bytes){ long_name, 56 }));
    assert_false(spop_ack_unset(&a, SPOP_SESS, (struct spop_bytes){ long_name, 57 }));
    assert_true(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("Az09._"), true));
    assert_false(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES(""), true));
    assert_false(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("a-b"), true));
    assert_false(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("a b"), true));
    assert_false(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("a\0"), true));
    assert_false(spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("\xc3\xa9"), true));
    assert_int_equal(a.dropped, 7);
}

static void A4_no_buffer_size_is_overrun(void **state)
{
    (void)state;
    for (size_t size = 0; size < 64; size++) {
        uint8_t *exact = malloc(size != 0 ? size : 1);
        assert_non_null(exact);
        struct spop_ack a = spop_ack_make(exact, size);
        (void)spop_ack_set_bool(&a, SPOP_TXN, SPOP_BYTES("ok"), true);
        (void)spop_ack_set_string(&a, SPOP_TXN, SPOP_BYTES("s"), SPOP_BYTES("0123456789"));
        (void)spop_ack_set_int(&a, SPOP_TXN, SPOP_BYTES("i"), -1);
        (void)spop_ack_set_binary(&a, SPOP_TXN, SPOP_BYTES("h"), (struct spop_bytes){ "", SIZE_MAX / 2 });
        (void)spop_ack_unset(&a, SPOP_TXN, SPOP_BYTES("u"));
        assert_true(a.len <= size && a.dropped >= 1);
        free(exact);
    }
}

static void F1_F5_frames_are_written_with_length_type_and_fin(void **state)
{
    (void)state;
    uint8_t out[32];
    struct spop_bytes ids = SPOP_BYTES("\xf0\x00\x02"), body = SPOP_BYTES("xyz"), none = { NULL, 0 };
    assert_int_equal(spop_frame_encode(out, sizeof out, SPOP_ACK, ids, body), 15);
    assert_memory_equal(out, "\x00\x00\x00\x0b\x67\x00\x00\x00\x01\xf0\x00\x02xyz", 15);
    assert_int_equal(spop_frame_encode(out, sizeof out, SPOP_AGENT_DISCONNECT, none, none), 11);
    assert_memory_equal(out, "\x00\x00\x00\x07\x66\x00\x00\x00\x01\x00\x00", 11);
    for (size_t size = 0; size < 15; size++)
        assert_int_equal(spop_frame_encode(out, size, SPOP_ACK, ids, body), 0);
}

static void F1_a_frame_is_parsed_into_its_parts(void **state)
{
    (void)state;
    struct spop_frame f;
    assert_int_equal(spop_frame_parse(SPOP_BYTES("\x03\x80\x00\x00\x01\xf0\x00\x02xyz"), &f), 0);
    assert_int_equal(f.type, SPOP_NOTIFY);
    assert_int_equal(f.flags, 0x80000001);
    assert_int_equal(f.stream_id, 240);
    assert_int_equal(f.frame_id, 2);
    assert_true(spop_bytes_eq(f.ids, SPOP_BYTES("\xf0\x00\x02")));
    assert_true(spop_bytes_eq(f.payload, SPOP_BYTES("xyz")));
    for (size_t cut = 0; cut < 8; cut++)
        assert_int_equal(spop_frame_parse((struct spop_bytes){ "\x03\x80\x00\x00\x01\xf0\x00\x02", cut }, &f), -1);
}

static void D1_every_status_has_its_words(void **state)
{
    (void)state;
    assert_string_equal(spop_status_text(SPOP_FRAME_TOO_BIG), "frame is too big");
    for (unsigned code = 0; code <= 13; code++)
        for (unsigned other = 0; other < code; other++)
            assert_string_not_equal(spop_status_text(code), spop_status_text(other));
    assert_string_equal(spop_status_text(42), spop_status_text(99));
}

static void put_value_checks_size_and_type(void **state)
{
    (void)state;
    uint8_t out[32];
    struct spop_value v4 = { .type = SPOP_IPV4, .bytes = SPOP_BYTES("\x7f\0\0\1") };
    assert_int_equal(spop_put_value(out, sizeof out, &v4), 5);
    assert_memory_equal(out, "\x06\x7f\0\0\1", 5);
    assert_int_equal(spop_put_value(out, 4, &v4), 0);
    v4.bytes.n = 3;
    assert_int_equal(spop_put_value(out, sizeof out, &v4), 0);
    assert_int_equal(spop_put_value(out, sizeof out, &(struct spop_value){ .type = (enum spop_type)10 }), 0);
    assert_int_equal(spop_put_string(out, 3, SPOP_BYTES("abc")), 0);
    assert_int_equal(spop_put_string(out, 4, SPOP_BYTES("abc")), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(V1_every_size_boundary_round_trips),
        cmocka_unit_test(V2_haproxys_vectors_both_ways),
        cmocka_unit_test(V3_eleventh_byte_and_values_over_64_bits_are_refused),
        cmocka_unit_test(V4_a_length_that_wraps_the_pointer_is_refused),
        cmocka_unit_test(V5_a_last_group_of_zero_is_legal),
        cmocka_unit_test(T1_T2_every_type_from_literal_bytes),
        cmocka_unit_test(T2_reserved_types_cannot_be_skipped),
        cmocka_unit_test(T2_every_truncation_is_bad),
        cmocka_unit_test(T3_negative_int64_as_haproxy_sends_it),
        cmocka_unit_test(T4_flags_of_other_types_are_ignored),
        cmocka_unit_test(N1_N2_several_messages_unnamed_and_null_arguments),
        cmocka_unit_test(N1_255_arguments),
        cmocka_unit_test(N3_an_empty_payload_holds_no_message),
        cmocka_unit_test(N4_arguments_left_alone_are_skipped_and_truncation_is_bad),
        cmocka_unit_test(A1_actions_byte_by_byte),
        cmocka_unit_test(A2_the_verdict_stays_when_later_variables_do_not_fit),
        cmocka_unit_test(A2_a_group_of_variables_can_be_taken_back),
        cmocka_unit_test(A3_names_haproxy_would_drop_are_refused),
        cmocka_unit_test(A4_no_buffer_size_is_overrun),
        cmocka_unit_test(F1_F5_frames_are_written_with_length_type_and_fin),
        cmocka_unit_test(F1_a_frame_is_parsed_into_its_parts),
        cmocka_unit_test(D1_every_status_has_its_words),
        cmocka_unit_test(put_value_checks_size_and_type),
    };
    return cmocka_run_group_tests_name("spoe codec", tests, NULL, NULL);
}
