#include "settle_support.h"

#include "settle/settle_record.h"

#include <msgpack.h>

static void pack_text(msgpack_packer *p, const char *s)
{
    msgpack_pack_str(p, strlen(s));
    msgpack_pack_str_body(p, s, strlen(s));
}

/* A record with all kinds of values. */
static void pack_record(msgpack_sbuffer *b, const char *id)
{
    msgpack_packer p;
    msgpack_packer_init(&p, b, msgpack_sbuffer_write);
    msgpack_pack_map(&p, 18);
    pack_text(&p, "v"), msgpack_pack_int(&p, 1);
    pack_text(&p, "grp"), pack_text(&p, "openai");
    pack_text(&p, "att"), msgpack_pack_int(&p, 2);
    pack_text(&p, "st"), msgpack_pack_int(&p, 200);
    pack_text(&p, "sse"), msgpack_pack_true(&p);
    pack_text(&p, "done"), msgpack_pack_false(&p);
    pack_text(&p, "end"), pack_text(&p, "cut");
    pack_text(&p, "ttft_ms"), msgpack_pack_double(&p, 120.7);
    pack_text(&p, "hdr_ms"), msgpack_pack_int(&p, -1);
    pack_text(&p, "bytes"), msgpack_pack_uint64(&p, 5000000000u);
    pack_text(&p, "usage"), msgpack_pack_bin(&p, 2), msgpack_pack_bin_body(&p, "{}", 2);
    pack_text(&p, "usage2"), pack_text(&p, "{\"a\":1}");
    pack_text(&p, "failed"), msgpack_pack_true(&p);
    pack_text(&p, "blamed"), msgpack_pack_true(&p);
    pack_text(&p, "dropped"), msgpack_pack_int(&p, 3);
    pack_text(&p, "extra"), msgpack_pack_array(&p, 2), msgpack_pack_nil(&p), msgpack_pack_map(&p, 0);
    pack_text(&p, "rid"), msgpack_pack_nil(&p);
    pack_text(&p, "id"), pack_text(&p, id);
}

static void feed(struct settle_reader *r, const char *p, size_t n)
{
    char *room = settle_reader_room(r, n > 0 ? n : 1);
    assert_non_null(room);
    memcpy(room, p, n);
    settle_reader_take(r, n);
}

static void check_record(const struct settle_record *rec, const char *id)
{
    assert_slice(rec->id, id);
    assert_slice(rec->group, "openai");
    assert_int_equal(rec->attempt, 2);
    assert_int_equal(rec->status, 200);
    assert_true(rec->sse);
    assert_false(rec->done);
    assert_int_equal(rec->end, SETTLE_END_CUT);
    assert_int_equal(rec->first_ms, 120);
    assert_int_equal(rec->headers_ms, -1);
    assert_int_equal(rec->last_ms, -1);
    assert_int_equal(rec->bytes, 5000000000);
    assert_slice(rec->usage, "{}");
    assert_slice(rec->first_usage, "{\"a\":1}");
    assert_true(rec->failed && rec->blamed);
    assert_int_equal(rec->dropped, 3);
    assert_int_equal(rec->provider_id.n, 0);
}

static void split_everywhere(void **state)
{
    msgpack_sbuffer b;
    (void)state;
    msgpack_sbuffer_init(&b);
    pack_record(&b, "first");
    pack_record(&b, "second");
    for (size_t cut = 0; cut <= b.size; cut++) {
        struct settle_reader *r = settle_reader_new(0);
        struct settle_record rec;
        const char *why, *const ids[] = { "first", "second" };
        size_t got = 0;
        for (int k = 0; k < 2; k++) {
            feed(r, b.data + (k ? cut : 0), k ? b.size - cut : cut);
            while (settle_reader_next(r, &rec, &why) == 1)
                check_record(&rec, ids[got++]);
            assert_null(why);
        }
        assert_int_equal(got, 2);
        assert_false(settle_reader_pending(r));
        settle_reader_free(r);
    }
    msgpack_sbuffer_destroy(&b);
}

static int outcome(const char *bytes, size_t n, size_t max, const char **why)
{
    struct settle_reader *r = settle_reader_new(max);
    struct settle_record rec;
    feed(r, bytes, n);
    int rc = settle_reader_next(r, &rec, why);
    settle_reader_free(r);
    return rc;
}

#define OUTCOME(bytes, max) outcome("" bytes, sizeof(bytes) - 1, (max), &why)

static void hostile_streams_break(void **state)
{
    const char *why = NULL;
    (void)state;
    assert_int_equal(OUTCOME("\x93\x01\x02\x03", 0), -1);          /* an array */
    assert_int_equal(OUTCOME("GET / HTTP/1.1\r\n", 0), -1);
    assert_int_equal(OUTCOME("\xc1", 0), -1);                      /* never used */
    assert_int_equal(OUTCOME("\xdf\xff\xff\xff\xff", 0), -1);      /* a map of 2^32 - 1 pairs */
    assert_int_equal(OUTCOME("\x81\xa2id\xdd\x10\x00\x00\x00", 0), -1);
    assert_int_equal(OUTCOME("\x81\xa2id\xdb\xff\xff\xff\xff", 0), -1); /* a string of 4 GiB */
    assert_int_equal(OUTCOME("\x81\xa2id\xd9\x40", 32), -1);
    assert_non_null(why);
    char deep[64];
    memset(deep, 0x91, sizeof deep);
    deep[0] = (char)0x81;
    assert_int_equal(outcome(deep, sizeof deep, 0, &why), -1);
    assert_string_equal(why, "a record nests too deeply");
    assert_int_equal(OUTCOME("\x81\xa2id\xa3", 0), 0); /* only cut */
}

static void unusable_records_are_passed_over(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
#define B(s) { s, sizeof(s) - 1 }
        B("\x80"), B("\x81\xa2id\x05"), B("\x81\xa2id\xa0"), B("\x82\xa2id\xa1x\xa1v\x02"), B("\x82\xa2id\xa1x\xa2st\xa1y"),
        B("\x82\xa2id\xa1x\xa3sse\x01"), B("\x82\xa2id\xa1x\x01\x01"), B("\x82\xa2id\xa1x\xa2st\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct settle_reader *r = settle_reader_new(0);
        struct settle_record rec;
        const char *why = NULL;
        feed(r, bad[i].bytes, bad[i].n);
        assert_int_equal(settle_reader_next(r, &rec, &why), -2);
        assert_non_null(why);
        feed(r, "\x81\xa2id\xa1z", 6);
        assert_int_equal(settle_reader_next(r, &rec, &why), 1);
        assert_slice(rec.id, "z");
        assert_int_equal(settle_reader_next(r, &rec, &why), 0);
        settle_reader_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(split_everywhere), cmocka_unit_test(hostile_streams_break),
                                        cmocka_unit_test(unusable_records_are_passed_over) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
