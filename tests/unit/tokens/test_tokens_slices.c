/* A step of a count in slices does a bounded amount of work, whatever the text holds. Seen from two sides: the work it reports, and the
 * pages of the text that it reads, which are closed before every step. */
#include "tokens/estimate.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_BYTES = 128 * 1024, STEP_WORK = 16384, OVER_WORK = 16384, PAGE = 4096 };
/* What is easiest is read four times as fast as it is counted. */
enum { PAGES_MOST = 4 * (STEP_WORK + OVER_WORK) / PAGE + 2 };

static const char *const encodings[] = { "o200k_base", "cl100k_base", "r50k_base" };

/* What the text repeats behind `first`. */
static const struct {
    const char *first, *again;
} texts[] = {
    { "", "a" },
    { "", " " },
    { "x", "\n" },
    { "x", " \n" },
    { "", "\t \302\240" },
    { "!", "/" },
    { "!\n", "\r/" },
    { "", "\346\274\242" },
    { "\346\274\242", "A" },                  /* the word ends before the run of upper case, which is read to its end */
    { "ABC", "\303\211" },
    { "Q", "\314\201" },                      /* marks */
    { "a", "\314\201!" },
    { "", "7" },
    { "", "\360\237\230\200" },
    { "", "Revenue grew in most regions while costs did not; the board wants to know why. " },
    { "", "qzxjvkwpyhgfbdmctlnrsaeiou" },
    { "", "cGljayBhIHN0cmluZyB0aGF0IGlzIG5vdCBhIHdvcmQK/+" },
    { "", "internationalizatio responsibilitie notwithstandin " },
    { "", "-" },
    { "", "----------------------------------------------------------------------------------------------------"
          "------------------------------------------------------------------------------------------a" },
    { "=", "*=/" },
    { "", "\\u0041" },
    { "", "\\ud800" },
    { "", "\\n" },
    { "", "\\" },
    { "", "\377" },
    { "plain at first", "\303" },
};

static struct {
    char *p;
    volatile sig_atomic_t opened;
} text;

static void open_page(int number, siginfo_t *info, void *context)
{
    char *page = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1));
    (void)context;
    if (page < text.p || page >= text.p + TEXT_BYTES || mprotect(page, PAGE, PROT_READ) != 0) {
        signal(number, SIG_DFL);
        return;
    }
    text.opened++;
}

static void fill(const char *first, const char *again)
{
    size_t at = strlen(first), n = strlen(again);
    memcpy(text.p, first, at);
    for (; at + n <= TEXT_BYTES; at += n)
        memcpy(text.p + at, again, n);
    memset(text.p + at, '.', TEXT_BYTES - at);
}

/* Each step, watched. */
static int64_t count_in_steps(struct token_counter *c, const struct tokenizer *t, enum token_input how)
{
    struct token_count count;
    struct token_job *job = token_job_new(c, t, how, slice_make(text.p, TEXT_BYTES));
    int done;
    size_t steps = 0;
    assert_non_null(job);
    do {
        assert_int_equal(mprotect(text.p, TEXT_BYTES, PROT_NONE), 0);
        text.opened = 0;
        done = token_job_step(job, STEP_WORK, &count);
        assert_in_range(token_job_work(job), 0, STEP_WORK + OVER_WORK);
        if (text.opened > PAGES_MOST || token_job_work(job) > STEP_WORK + OVER_WORK)
            print_error("\"%.20s...\", step %zu: %zu of work, %d pages\n", text.p, steps, token_job_work(job), (int)text.opened);
        assert_in_range(text.opened, 0, PAGES_MOST);
        steps++;
    } while (done == 0);
    assert_int_equal(done, 1);
    token_job_free(job);
    assert_int_equal(mprotect(text.p, TEXT_BYTES, PROT_READ | PROT_WRITE), 0);
    assert_true(steps >= TEXT_BYTES / 4 / (STEP_WORK + OVER_WORK));
    return count.tokens;
}

static void test_every_step_is_bounded(void **state)
{
    static const struct token_counter_options bare = { .piece_cache_bytes = 0 };
    static const enum token_input kinds[] = { TOKENS_OF_TEXT, TOKENS_OF_JSON_STRING, TOKENS_OF_JSON_VALUE };
    struct sigaction action = { .sa_sigaction = open_page, .sa_flags = SA_SIGINFO };
    struct tokenizer_set *set = *state;
    struct token_counter *cached = token_counter_new(NULL), *plain = token_counter_new(&bare);
    assert_true(cached && plain);
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0); /* here, since the framework has set its own */
    for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++)
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            for (int k = 0; k < 3; k++) {
                const struct tokenizer *t = tokenizer_set_find(set, slice_cstr(encodings[e]));
                struct token_count whole;
                fill(texts[i].first, texts[i].again);
                assert_int_equal(token_count_bytes(plain, t, kinds[k], slice_make(text.p, TEXT_BYTES), &whole), 0);
                assert_int_equal(count_in_steps(plain, t, kinds[k]), whole.tokens);
                assert_int_equal(count_in_steps(cached, t, kinds[k]), whole.tokens);
                assert_int_equal(count_in_steps(cached, t, kinds[k]), whole.tokens); /* remembered */
            }
    signal(SIGSEGV, SIG_DFL);
    token_counter_free(cached);
    token_counter_free(plain);
}

/* A request of many parts, too: long ones, and such as are counted at once. */
static void test_many_parts(void **state)
{
    enum { PARTS = 256, EACH = TEXT_BYTES / PARTS };
    struct tokenizer_set *set = *state;
    struct ask_part *parts = calloc(PARTS, sizeof *parts);
    const struct ask_part *chunks[PARTS / ASK_PARTS_CHUNK];
    struct ask ask = { .endpoint = ENDPOINT_CHAT, .model = SLICE_LIT("gpt-4o"), .part_chunks = chunks, .part_count = PARTS, .message_count = PARTS };
    struct token_rules rules;
    struct token_estimate whole, sliced;
    struct token_counter *c = token_counter_new(NULL), *other = token_counter_new(NULL);
    const struct tokenizer *t = tokenizer_set_find(set, SLICE_LIT("o200k_base"));
    bool unbounded;
    int done;
    assert_true(parts && c && other);
    for (size_t i = 0; i < PARTS / ASK_PARTS_CHUNK; i++)
        chunks[i] = parts + i * ASK_PARTS_CHUNK;
    token_rules_for_model(ask.model, &rules);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fill(texts[i].first, texts[i].again);
        for (unsigned k = 0; k < PARTS; k++) {
            parts[k] = (struct ask_part){ .kind = PART_TEXT, .place = IN_CONTENT, .message = k };
            parts[k].raw = slice_make(text.p + k * EACH, k % 2 ? EACH : TOKENS_SHORT);
        }
        assert_int_equal(token_estimate_ask(other, t, &rules, &ask, &whole, &unbounded), 0);
        struct estimate_job *job = estimate_job_new(c, t, &rules, &ask);
        assert_non_null(job);
        while ((done = estimate_job_step(job, STEP_WORK, &sliced, NULL)) == 0)
            assert_in_range(estimate_job_work(job), 1, STEP_WORK + OVER_WORK);
        assert_int_equal(done, 1);
        assert_int_equal(sliced.input, whole.input);
        assert_int_equal(sliced.input_bound, whole.input_bound);
        estimate_job_free(job);
    }
    token_counter_free(c);
    token_counter_free(other);
    free(parts);
}

static int setup(void **state)
{
    char why[512];
    text.p = mmap(NULL, TEXT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *state = tokenizer_set_open(NULL, why, sizeof why);
    if (text.p == MAP_FAILED || !*state || sysconf(_SC_PAGESIZE) != PAGE)
        return -1;
    return 0;
}

static int teardown(void **state)
{
    tokenizer_set_close(*state);
    return munmap(text.p, TEXT_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_step_is_bounded), cmocka_unit_test(test_many_parts) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
