/* How fast the ledger takes rows: decisions and settlements in groups as they come from a loop, with synchronous=FULL and roll-ups.
 *
 *   bench_ledger_rate [rows] [group] [users] [file]   (default 200000 50 500, a temporary file in the current directory)
 *   bench_ledger_rate curve LARGEST [file]            (10000 up to 10000000: the same at 10^4, 10^5, ... existing rows)
 *
 * Prints rows per second and CPU per row for decisions and for settlements, the longest commit, then how long each report of the
 * tollgatectl beside this program takes. A row that exists stays. The curve fills a file with requests of 400 days, 500 users, 50
 * teams and 8 models (goes on with one that is given, and leaves it), and at each size compares with an empty ledger that is written
 * to by turns with it, so that both see the same machine. */
#include "base/clock.h"
#include "ledger/ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { USERS_MAX = 10000, CURVE_ROWS = 20000, CURVE_GROUP = 50, CURVE_TURNS = 3, CURVE_USERS = 500, FILL_GROUP = 1000, SLICE_ROWS = 5000, DAYS = 400 };

struct group {
    pthread_mutex_t lock;
    pthread_cond_t empty;
    size_t missing;
    size_t failed;
};

static void on_done(struct ledger_op *op, enum ledger_result result)
{
    struct group *g = op->user;
    pthread_mutex_lock(&g->lock);
    g->failed += result != LEDGER_OK;
    if (--g->missing == 0)
        pthread_cond_signal(&g->empty);
    pthread_mutex_unlock(&g->lock);
}

static int64_t cpu_us(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * INT64_C(1000000) + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}

static char program_folder[512];
static char users[USERS_MAX][24], teams[100][24];
static const char *const models[] = { "gpt-4o", "gpt-4o-mini", "o3", "gpt-4.1", "claude-sonnet-4-5", "claude-haiku-4-5", "mistral-large", "gpt-5" };

static const char *model_of(int64_t id)
{
    return models[id * 7 % 31 % 8];
}

/* Random, as HAProxy's %[uuid()] is. */
static void fill_decision(struct ledger_op *op, char name[40], int64_t id, int64_t at, int n_users)
{
    int user = rand() % n_users;
    snprintf(name, 40, "%08x-%04x-4%03x-a%03x-%012x", (unsigned)rand(), rand() & 0xffff, rand() & 0xfff, rand() & 0xfff, (unsigned)rand());
    op->kind = LEDGER_DECISION;
    op->decision = (struct ledger_decision){
        .id = id, .request_id = slice_cstr(name), .started_us = at,
        .who = { SLICE_LIT("acme"), slice_cstr(teams[user % 50]), slice_cstr(users[user]), SLICE_LIT("assistant"), slice_cstr(teams[50 + user % 20]),
                 slice_cstr(users[user]), SLICE_LIT("https://login.acme.example/oidc") },
        .alias = SLICE_LIT("chat-default"), .stream = true, .primary = { SLICE_LIT("openai-eu"), SLICE_LIT("openai"), slice_cstr(model_of(id)), SLICE_LIT("prod-1") },
        .fallback = { SLICE_LIT("azure-eu"), SLICE_LIT("azure"), SLICE_LIT("gpt-4o"), SLICE_LIT("azure") }, .input_tokens = 512, .input_bound = 512,
        .output_ceiling = 1024, .choices = 1, .hold_nano = 11520000, .price_version = INT64_C(0x123456789abc), .body_bytes = 2048,
        .identity_us = 1, .tokens_us = 8, .budget_us = 1
    };
}

/* Most within a factor of three; one in eight is doubled as often as heads come in a row, so that about 1 in 100 costs ten times the median. */
static int64_t cost_of(int64_t id)
{
    uint64_t h = (uint64_t)id * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 31) * 0xBF58476D1CE4E5B9u;
    return (int64_t)(400000 + h % 600000) << (h >> 60 < 2 ? __builtin_ctzll(h >> 20 | 1u << 12) : 0);
}

static void fill_settlement(struct ledger_op *op, int64_t id, int64_t at)
{
    op->kind = LEDGER_SETTLEMENT;
    op->settlement = (struct ledger_settlement){
        .id = id, .settled_us = at, .known_by = KNOWN_REPORTED, .http_status = 200, .outcome = SLICE_LIT("ok"),
        .served = { SLICE_LIT("openai-eu"), SLICE_LIT("openai"), slice_cstr(model_of(id)), SLICE_LIT("prod-1") },
        .usage = { .input = 512, .input_cached = id % 3 * 128, .output = 300 },
        .cost_nano = cost_of(id), .prompt_saved_nano = id % 3 * 160000, .fallback = id % 50 == 0, .provider_cost_nano = -1, .price_version = INT64_C(0x123456789abc), .ttft_us = 400000, .tpot_ns = 12000000,
        .total_us = 4000000, .attempts = 1, .response_bytes = 60000, .commit_us = 300
    };
}

struct speed {
    int64_t us, cpu_us, longest_us;
    size_t rows, failed;
};

/* One group after the other: the next starts when the last is committed. Requests start `step_us` apart, from `at`. */
static void pass(struct ledger *l, bool decide, int64_t first, size_t rows, size_t size, int n_users, int64_t at, int64_t step_us, struct speed *sum)
{
    struct group g = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };
    struct ledger_op *ops = calloc(size, sizeof *ops);
    char (*names)[40] = calloc(size, sizeof *names);
    int64_t start = clock_mono_us(), cpu = cpu_us();
    for (size_t done = 0; ops && names && done < rows; done += size) {
        int64_t began = clock_mono_us();
        g.missing = size;
        for (size_t i = 0; i < size; i++) {
            int64_t id = first + (int64_t)(done + i), when = at + (int64_t)(done + i) * step_us;
            if (decide)
                fill_decision(&ops[i], names[i], id, when, n_users);
            else
                fill_settlement(&ops[i], id, when);
            ops[i].done = on_done;
            ops[i].user = &g;
            ledger_submit(l, &ops[i]);
        }
        pthread_mutex_lock(&g.lock);
        while (g.missing)
            pthread_cond_wait(&g.empty, &g.lock);
        pthread_mutex_unlock(&g.lock);
        int64_t took = clock_mono_us() - began;
        sum->longest_us = took > sum->longest_us ? took : sum->longest_us;
    }
    sum->us += clock_mono_us() - start;
    sum->cpu_us += cpu_us() - cpu;
    sum->rows += rows;
    sum->failed += g.failed;
    free(ops);
    free(names);
}

static double rate(const struct speed *s)
{
    return (double)s->rows * 1e6 / (double)s->us;
}

static void print_pass(const char *what, const struct speed *s, size_t size)
{
    printf("%-12s %8zu rows in groups of %zu: %8.0f rows/s, %5.2f us CPU/row, longest group %6.2f ms, %zu failed\n", what, s->rows, size, rate(s),
           (double)s->cpu_us / (double)s->rows, (double)s->longest_us / 1000, s->failed);
}

/* Each runs in a process of its own, as a person or a nightly job would start it; its output is thrown away. */
static void report(const char *file, const char *options)
{
    char command[1200];
    snprintf(command, sizeof command, "%s/tollgatectl report --ledger %s %s > /dev/null", program_folder, file, options);
    int64_t start = clock_mono_us();
    int rc = system(command);
    printf("%8.0f ms  report %s%s\n", (double)(clock_mono_us() - start) / 1000, options, rc == 0 ? "" : "  FAILED");
}

static void reports(const char *file)
{
    static const char *const kinds[] = {
        "--by team", "--by user", "--by app", "--by model", "--by provider", "--by cost_center", "--by organization", "--by day", "--by month",
        "--by team,model,month", "--by team,day", "--by user,model",
    };
    char from[16], options[160];
    time_t first = time(NULL) - (DAYS + 1) * (time_t)86400;
    strftime(from, sizeof from, "%Y-%m-%d", gmtime(&first));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(options, sizeof options, "%s --from %s", kinds[i], from);
        report(file, options);
    }
    report(file, "--by user,day"); /* this month */
    report(file, "--kind burn");
    report(file, "--kind burn --by user");
    report(file, "--kind movers --by user,model");
    snprintf(options, sizeof options, "--kind savings --from %s", from);
    report(file, options);
    snprintf(options, sizeof options, "--kind savings --by user --from %s", from);
    report(file, options);
    snprintf(options, sizeof options, "--kind anomalies --from %s", from);
    report(file, options);
    report(file, "--kind anomalies");
    report(file, "--format focus");
}

static void remove_ledger(const char *file)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    char name[320];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", file, ends[i]);
        unlink(name);
    }
}

static struct ledger *open_or_exit(const char *file)
{
    char why[300];
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (l)
        return l;
    fprintf(stderr, "%s\n", why);
    exit(1);
}

/* In slices: at most so many requests are open at a time, as if answers took a few seconds. */
static void add(struct ledger *l, int64_t *next, size_t rows, size_t group, int n_users, int64_t at, int64_t step_us, struct speed *decide,
                struct speed *settle)
{
    for (size_t done = 0; done < rows; done += SLICE_ROWS) {
        size_t n = rows - done < SLICE_ROWS ? rows - done : SLICE_ROWS;
        pass(l, true, *next, n, group, n_users, at + (int64_t)done * step_us, step_us, decide);
        pass(l, false, *next, n, group, n_users, at + (int64_t)done * step_us, step_us, settle);
        *next += (int64_t)n;
    }
}

/* Both ledgers by turns. What the empty one takes between two sizes is thrown away. */
static void compare(struct ledger *large, int64_t *next, size_t existing, const char *empty_file)
{
    struct speed d = { 0 }, s = { 0 }, d0 = { 0 }, s0 = { 0 };
    struct ledger *empty = open_or_exit(empty_file);
    int64_t first = ledger_next_id(empty);
    /* Past its first requests, which the roll-ups leave to readers. */
    add(empty, &first, CURVE_ROWS, FILL_GROUP, CURVE_USERS, clock_wall_us(), 1000, &(struct speed){ 0 }, &(struct speed){ 0 });
    for (int i = 0; i < CURVE_TURNS; i++) {
        int64_t now = clock_wall_us();
        add(empty, &first, CURVE_ROWS, CURVE_GROUP, CURVE_USERS, now, 1000, &d0, &s0);
        add(large, next, CURVE_ROWS, CURVE_GROUP, CURVE_USERS, now, 1000, &d, &s);
    }
    ledger_close(empty);
    remove_ledger(empty_file);
    printf("\n%zu rows: decisions %.0f/s, %.2f us CPU, %.2f of an empty ledger's rate; settlements %.0f/s, %.2f us CPU, %.2f; both %.2f;"
           " longest group %.1f ms (empty %.1f); %zu failed\n",
           existing, rate(&d), (double)d.cpu_us / (double)d.rows, rate(&d) / rate(&d0), rate(&s), (double)s.cpu_us / (double)s.rows, rate(&s) / rate(&s0),
           (double)(d0.us + s0.us) / (double)(d.us + s.us), (double)(d.longest_us > s.longest_us ? d.longest_us : s.longest_us) / 1000,
           (double)(d0.longest_us > s0.longest_us ? d0.longest_us : s0.longest_us) / 1000, d.failed + s.failed + d0.failed + s0.failed);
}

static int curve(size_t largest, const char *given)
{
    char name[] = "./bench-ledger-XXXXXX", empty[] = "./bench-empty-XXXXXX";
    int fd = given ? -1 : mkstemp(name), other = mkstemp(empty);
    const char *file = given ? given : name;
    size_t have = 0;
    if ((!given && (fd < 0 || close(fd) != 0)) || other < 0 || close(other) != 0)
        return 1;
    for (size_t size = 10000; size <= largest; size *= 10) {
        struct ledger *l = open_or_exit(file);
        struct speed ignored = { 0 };
        struct stat st = { 0 };
        int64_t next = ledger_next_id(l), days = DAYS * INT64_C(86400000000), step = days / (int64_t)largest;
        have = (size_t)(next - 1);
        if (size <= have && size < largest) {
            ledger_close(l);
            continue;
        }
        if (size > have)
            add(l, &next, (size - have) / FILL_GROUP * FILL_GROUP, FILL_GROUP, CURVE_USERS, clock_wall_us() - days + (int64_t)have * step, step, &ignored, &ignored);
        compare(l, &next, size, empty);
        ledger_close(l);
        if (stat(file, &st) == 0)
            printf("%lld rows, %lld MiB, %.0f bytes a row\n", (long long)next - 1, (long long)st.st_size >> 20, (double)st.st_size / (double)(next - 1));
        reports(file);
        fflush(stdout);
    }
    if (!given)
        remove_ledger(file);
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 0; i < USERS_MAX; i++)
        snprintf(users[i], sizeof users[i], "user-%05d@acme.example", i);
    for (int i = 0; i < 100; i++)
        snprintf(teams[i], sizeof teams[i], "team-%02d", i);
    const char *slash = strrchr(argv[0], '/');
    snprintf(program_folder, sizeof program_folder, "%.*s", slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
    if ((argc == 3 || argc == 4) && strcmp(argv[1], "curve") == 0)
        return curve((size_t)atol(argv[2]), argc == 4 ? argv[3] : NULL);
    size_t rows = argc > 1 ? (size_t)atol(argv[1]) : 200000, size = argc > 2 ? (size_t)atol(argv[2]) : 50;
    int n_users = argc > 3 ? atoi(argv[3]) : 500;
    char name[] = "./bench-ledger-XXXXXX", why[300];
    bool temporary = argc < 5;
    if (size == 0 || rows < size || n_users < 1 || n_users > USERS_MAX) {
        fprintf(stderr, "usage: bench_ledger_rate [rows] [group] [users, at most %d] [file]\n", USERS_MAX);
        return 2;
    }
    rows -= rows % size; /* a slice is a whole number of groups */
    if (temporary && close(mkstemp(name)) != 0)
        return 1;
    const char *file = temporary ? name : argv[4];
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (!l) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    int64_t first = ledger_next_id(l);
    printf("%lld rows before\n", (long long)first - 1);
    int64_t now = clock_wall_us();
    struct speed decide = { 0 }, settle = { 0 };
    add(l, &first, rows, size, n_users, now, 1000, &decide, &settle);
    print_pass("decisions", &decide, size);
    print_pass("settlements", &settle, size);
    ledger_close(l);
    reports(file);
    if (temporary)
        remove_ledger(file);
    return 0;
}
