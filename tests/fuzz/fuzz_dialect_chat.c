/* Any body on any endpoint: parsed or refused with a reason; what parses is rewritten, and the result says what was wished. The first byte
 * picks the endpoint and the wishes. */
#include "base/fiber.h"
#include "dialect/dialect.h"
#include "dialect/dialect_rewrite.h"
#include "dialect/error.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static void inside(struct span s, size_t size)
{
    CHECK(s.off <= size && s.len <= size - s.off);
}

static void check_error(enum endpoint e, const struct refusal *why, struct arena *a)
{
    CHECK(why->status == 400 && why->message.n > 0 && why->reason != NULL);
    struct slice body = dialect_error_body(e, why, a);
    for (size_t i = 0; i < body.n; i++)
        CHECK(body.p[i] >= 0x20 && body.p[i] < 0x7f);
    CHECK(body.n > 2 && body.p[body.n - 1] == '}');
}

static void check_rewrite(const struct ask *ask, struct slice body, unsigned bits, struct arena *a)
{
    static const struct rewrite_member members[] = { { "store", NULL }, { "seed", "7" }, { "top_p", NULL } };
    struct rewrite_wish wish = { .output_ceiling = bits & 8 ? 33 : -1, .rename_ceiling = bits & 16, .include_usage = bits & 32,
                                 .members = members, .member_count = bits & 64 ? 3 : 0 };
    struct slice edits, out;
    struct refusal why;
    struct ask again;
    int64_t delta;

    wish.model = bits & 128 ? SLICE_LIT("wished \"\xc3\xa9\"") : SLICE_NONE;
    if (dialect_rewrite(ask, body, &wish, a, &edits, &delta) != 0) {
        CHECK(wish.member_count > 0); /* a name repeated too often */
        return;
    }
    CHECK(dialect_rewrite_apply(body, edits, a, &out) == 0);
    CHECK((int64_t)out.n == (int64_t)body.n + delta);
    CHECK(dialect_parse(ask->endpoint, out, a, &again, &why) == 0);
    CHECK(slice_eq(again.model, wish.model.n > 0 ? wish.model : ask->model));
    /* A member dropped may have been listed as one that costs tokens. */
    CHECK(wish.member_count > 0 ? again.part_count <= ask->part_count : again.part_count == ask->part_count);
    CHECK(again.message_count == ask->message_count && again.choices == ask->choices);
    if (wish.output_ceiling >= 0 && ask->endpoint != ENDPOINT_EMBEDDINGS)
        CHECK(again.at_max_output.len > 0 && again.max_output >= 0 && again.max_output <= 33 &&
              (ask->max_output < 0 || again.max_output <= ask->max_output));
    if (wish.include_usage && ask->stream && (ask->endpoint == ENDPOINT_CHAT || ask->endpoint == ENDPOINT_COMPLETIONS))
        CHECK(again.include_usage);
}

/* In the smallest slices there are: stopped wherever it may be. */
static void check_slices(enum endpoint e, struct slice body, const struct ask *whole, int result, struct arena *a)
{
    static struct fiber_pool *pool;
    struct ask ask;
    struct refusal why;
    int rc;

    if (pool == NULL)
        CHECK((pool = fiber_pool_new()) != NULL);
    struct dialect_job *job = dialect_job_new(pool, e, false, body, a, &ask, &why);
    CHECK(job != NULL);
    while ((rc = dialect_job_step(job, 1)) == 0) {
    }
    dialect_job_free(job);
    CHECK(rc == (result == 0 ? 1 : -1));
    CHECK(rc < 0 || (slice_eq(ask.model, whole->model) && ask.part_count == whole->part_count && ask.features == whole->features));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum endpoint e = (enum endpoint)(data[0] & 7);
    if (e > ENDPOINT_MESSAGES)
        e = ENDPOINT_CHAT;
    struct arena *a = arena_new(65536);
    CHECK(a != NULL);
    struct slice body = slice_make((const char *)data + 1, size - 1);
    struct ask ask;
    struct refusal why;

    int rc = dialect_parse(e, body, a, &ask, &why);
    check_slices(e, body, &ask, rc, a);
    if (rc != 0) {
        check_error(e, &why, a);
    } else {
        inside(ask.at_object, body.n);
        inside(ask.at_model, body.n);
        inside(ask.at_max_output, body.n);
        inside(ask.at_max_output_key, body.n);
        inside(ask.at_stream_options, body.n);
        inside(ask.at_include_usage, body.n);
        CHECK(ask.model.n > 0 && ask.choices >= 1 && ask.max_output >= -1);
        for (size_t i = 0; i < ask.part_count; i++)
            if (ask_part_at(&ask, i)->raw.n > 0)
                CHECK(ask_part_at(&ask, i)->raw.p >= body.p && ask_part_at(&ask, i)->raw.p + ask_part_at(&ask, i)->raw.n <= body.p + body.n);
        check_rewrite(&ask, body, data[0], a);
    }
    arena_free(a);
    return 0;
}
