/* Bodies of 1 MB parsed in slices: none is longer than it may be, the outcome is that of one piece, and once warm nothing is asked of the
 * system. */
#include "dialect_support.h"

#include "base/fiber.h"
#include "base/json_scan.h"
#include "base/private.h"

#include <stdlib.h>

enum { BODY_BYTES = 1 << 20, SLICE = 64 * 1024 };

#define HEAD "{\"model\":\"m\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}"

/* What a long body can be made of: `again` is repeated between `first` and `last`. */
static const struct {
    const char *name, *first, *again, *last;
    enum endpoint endpoint;
    bool refused;
} bodies[] = {
    { "messages", HEAD, ",{\"role\":\"user\",\"content\":\"a\"}", "]}", ENDPOINT_CHAT, false },
    { "anthropic messages", HEAD, ",{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}", "]}", ENDPOINT_MESSAGES, false },
    { "parts", "{\"model\":\"m\",\"messages\":[{\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}", ",{\"type\":\"text\",\"text\":\"a\"}",
      "]}]}", ENDPOINT_CHAT, false },
    { "items", "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"a\"}", ",{\"role\":\"user\",\"content\":\"a\"}", "]}", ENDPOINT_RESPONSES, false },
    { "tools", HEAD "],\"tools\":[{}", ",{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", "]}", ENDPOINT_CHAT, false },
    { "texts to embed", "{\"model\":\"m\",\"input\":[\"a\"", ",\"b\"", "]}", ENDPOINT_EMBEDDINGS, false },
    { "tokens to embed", "{\"model\":\"m\",\"input\":[1", ",22", "]}", ENDPOINT_EMBEDDINGS, false },
    { "members", HEAD "]", ",\"x\":1", "}", ENDPOINT_CHAT, false },
    { "elements of an unknown member", HEAD "],\"x\":[0", ",0", "]}", ENDPOINT_CHAT, false },
    { "plain text", HEAD "],\"x\":\"", "plain text of words ", "\"}", ENDPOINT_CHAT, false },
    { "escapes", HEAD "],\"x\":\"", "\\u0412", "\"}", ENDPOINT_CHAT, false },
    { "characters of three bytes", HEAD "],\"x\":\"", "\xe6\xbc\xa2\xe5\xad\x97", "\"}", ENDPOINT_CHAT, false },
    { "characters of two and four bytes", HEAD "],\"x\":\"", "\xd0\x92\xf0\x9f\x98\x80", "\"}", ENDPOINT_CHAT, false },
    { "mixed text", HEAD "],\"x\":\"", "a\\n\xd0\x92\\\"", "\"}", ENDPOINT_CHAT, false },
    { "blanks", HEAD "]", "    ", "}", ENDPOINT_CHAT, false },
    { "a number", HEAD "],\"x\":0.", "0123456789", "}", ENDPOINT_CHAT, false },
    { "the same key twice, at the end", HEAD "],\"x\":[0", ",0", "],\"model\":\"n\"}", ENDPOINT_CHAT, true },
    { "cut off", HEAD, ",{\"role\":\"user\",\"content\":\"a\"}", "", ENDPOINT_CHAT, true },
    { "not UTF-8 at the end", HEAD "],\"x\":\"", "\xe6\xbc\xa2", "\xff\"}", ENDPOINT_CHAT, true },
};

static struct slice body_make(char *room, size_t i)
{
    size_t n = strlen(bodies[i].first), again = strlen(bodies[i].again), last = strlen(bodies[i].last);

    memcpy(room, bodies[i].first, n);
    for (; n + again + last <= BODY_BYTES; n += again)
        memcpy(room + n, bodies[i].again, again);
    memcpy(room + n, bodies[i].last, last);
    return slice_make(room, n + last);
}

/* Steps until it is done; *slices of them. */
static int in_slices(struct fiber_pool *pool, enum endpoint e, struct slice body, struct arena *a, struct ask *ask, struct refusal *why,
                     size_t *slices)
{
    struct dialect_job *job = dialect_job_new(pool, e, false, body, a, ask, why);
    int rc;

    assert_non_null(job);
    *slices = 1;
    for (; (rc = dialect_job_step(job, SLICE)) == 0; ++*slices)
        assert_in_range(dialect_job_work(job), SLICE, SLICE + JSON_STRETCH);
    assert_true(dialect_job_work(job) <= SLICE + JSON_STRETCH);
    dialect_job_free(job);
    return rc;
}

static void assert_same(const struct ask *a, const struct ask *b)
{
    assert_int_equal(a->part_count, b->part_count);
    for (size_t i = 0; i < a->part_count; i++) {
        const struct ask_part *x = ask_part_at(a, i), *y = ask_part_at(b, i);
        if (x->kind != y->kind || x->place != y->place || x->message != y->message || x->raw.p != y->raw.p || x->raw.n != y->raw.n ||
            x->escaped != y->escaped || x->count != y->count)
            fail_msg("part %zu differs", i);
    }
    assert_true(slice_eq(a->model, b->model));
    assert_int_equal(a->message_count, b->message_count);
    assert_int_equal(a->max_output, b->max_output);
    assert_int_equal(a->features, b->features);
    assert_int_equal(a->at_object.off, b->at_object.off);
    assert_int_equal(a->at_object.len, b->at_object.len);
    assert_int_equal(a->had_invalid_text, b->had_invalid_text);
}

static void slices_give_what_one_piece_gives(void **state)
{
    struct arena *a = *state, *b = arena_new(4096);
    struct fiber_pool *pool = fiber_pool_new();
    char *room = malloc(BODY_BYTES + 64);
    struct ask whole, sliced;
    struct refusal no, why;
    size_t slices;

    assert_true(b != NULL && pool != NULL && room != NULL);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct slice body = body_make(room, i);
        int rc = dialect_parse(bodies[i].endpoint, body, a, &whole, &no);
        if (rc != (bodies[i].refused ? -1 : 0))
            fail_msg("%s: %d %.*s", bodies[i].name, rc, SLICE_FMT(no.message));
        assert_int_equal(in_slices(pool, bodies[i].endpoint, body, b, &sliced, &why, &slices), rc == 0 ? 1 : -1);
        /* No content is read at less than 4 bytes for 1 of work. */
        if (slices < BODY_BYTES / 4 / (SLICE + JSON_STRETCH))
            fail_msg("%s: %zu slices", bodies[i].name, slices);
        if (rc == 0) {
            assert_same(&whole, &sliced);
        } else {
            assert_true(slice_eq(no.message, why.message));
            assert_string_equal(no.reason, why.reason);
            assert_true((no.param == NULL) == (why.param == NULL) && (no.param == NULL || strcmp(no.param, why.param) == 0));
        }
        arena_reset(a, 4096);
        arena_reset(b, 4096);
    }
    free(room);
    fiber_pool_free(pool);
    arena_free(b);
}

/* Many under way at once, some given up half-way: none disturbs another. */
static void several_at_once(void **state)
{
    enum { JOBS = 12 };
    struct fiber_pool *pool = fiber_pool_new();
    char *room = malloc(BODY_BYTES + 64);
    struct arena *arenas[JOBS];
    struct dialect_job *jobs[JOBS];
    struct ask whole, asks[JOBS];
    struct refusal why[JOBS], no;
    unsigned left = JOBS;

    assert_true(pool != NULL && room != NULL);
    struct slice body = body_make(room, 0);
    assert_int_equal(dialect_parse(ENDPOINT_CHAT, body, *state, &whole, &no), 0);
    for (int i = 0; i < JOBS; i++) {
        arenas[i] = arena_new(4096);
        assert_non_null(arenas[i]);
        jobs[i] = dialect_job_new(pool, ENDPOINT_CHAT, false, body, arenas[i], &asks[i], &why[i]);
        assert_non_null(jobs[i]);
    }
    for (int turn = 0; left > 0; turn++)
        for (int i = 0; i < JOBS; i++) {
            int rc = jobs[i] == NULL ? 0 : i % 4 == 3 && turn == i ? 2 : dialect_job_step(jobs[i], SLICE);
            if (rc == 0)
                continue;
            dialect_job_free(jobs[i]);
            jobs[i] = NULL;
            left--;
            if (rc == 1)
                assert_same(&whole, &asks[i]);
            else
                assert_int_equal(rc, 2);
        }
    for (int i = 0; i < JOBS; i++)
        arena_free(arenas[i]);
    free(room);
    fiber_pool_free(pool);
}

/* Memory comes from what earlier requests gave back. */
static void warm_it_asks_nothing_of_the_system(void **state)
{
    struct arena *a = arena_new(16 * 1024);
    struct fiber_pool *pool = fiber_pool_new();
    char *room = malloc(BODY_BYTES + 64);
    size_t slices, before = 0;
    struct refusal why;
    struct ask ask;

    (void)state;
    assert_true(a != NULL && pool != NULL && room != NULL);
    struct slice body = body_make(room, 0);
    for (int round = 0; round < 50; round++) {
        assert_int_equal(in_slices(pool, ENDPOINT_CHAT, body, a, &ask, &why, &slices), 1);
        assert_true(ask.part_count > 60000 && arena_used(a) > 2 << 20);
        arena_reset(a, 64 * 1024); /* all but little goes back */
        if (round == 0)
            before = private_mapped();
    }
    assert_int_equal(private_mapped(), before);
    free(room);
    fiber_pool_free(pool);
    arena_free(a);
}

#define T(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(slices_give_what_one_piece_gives), T(several_at_once), T(warm_it_asks_nothing_of_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
