/* How fast the ledger takes rows: decisions and settlements in groups as they come from a loop, with synchronous=FULL and roll-ups.
 *
 *   bench_ledger_rate [rows] [group] [users] [file]   (default 200000 50 500, a temporary file in the current directory)
 *   bench_ledger_rate curve LARGEST [file]            (10000 up to 10000000: the same at 10^4, 10^5, ... existing rows)
 *
 * Prints rows per second and CPU per row for decisions and for settlements, the longest commit, then how long each report of the
 * tollgatectl beside this program takes. A row that exists stays. The curve fills a file with requests of 400 days, 500 users, 50
 * teams and 8 models (goes on with one that is given, and leaves it), and at each size compares with an empty ledger that is written
 * to by turns with it, so that both see the same machine. It says beforehand what space it takes, how far it is every 10 seconds on
 * standard error, and leaves no file of its own behind: also when it is ended by a signal or its parent dies; what kill -9 leaves, the next
 * run removes. */
#include "base/clock.h"
#include "ledger/ledger.h"

#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { USERS_MAX = 10000, CURVE_ROWS = 20000, CURVE_GROUP = 50, CURVE_TURNS = 3, CURVE_USERS = 500, FILL_GROUP = 1000, SLICE_ROWS = 5000, DAYS = 400,
       ROW_BYTES = 450 /* of the file with its roll-ups: 270 at 10^5, 321 at 10^6, and some to spare */, WAL_BYTES = 256 << 20, PROGRESS_US = 10000000 };

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

/* ---- files of its own -------------------------------------------------------------------------------------------- */

static const char *const ends[] = { "", "-wal", "-shm" };
static char own[2][sizeof "./bench-ledger-XXXXXX"]; /* removed at the end, and by signals */

static void remove_ledger(const char *file)
{
    char name[320];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", file, ends[i]);
        unlink(name);
    }
}

static void on_signal(int number)
{
    char name[sizeof own[0] + 4];
    for (int k = 0; k < 2; k++)
        for (int i = 0; own[k][0] != '\0' && i < 3; i++) {
            strcpy(name, own[k]);
            strcat(name, ends[i]);
            unlink(name);
        }
    signal(number, SIG_DFL);
    raise(number);
}

/* What a run left that was killed: nobody holds its lock any more. */
static void remove_left(const char *pattern)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        int fd = open(found.gl_pathv[i], O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_ledger(found.gl_pathv[i]);
        if (fd >= 0)
            close(fd);
    }
    globfree(&found);
}

static const char *make_own(int k, const char *pattern)
{
    snprintf(own[k], sizeof own[k], "%s", pattern);
    int fd = mkstemp(own[k]);
    if (fd < 0 || close(fd) != 0) {
        perror(pattern);
        exit(1);
    }
    return own[k];
}

static void watch_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
    struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &a, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    remove_left("./bench-ledger-??????");
    remove_left("./bench-empty-??????");
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */

/* Each runs in a process of its own, as a person or a nightly job would start it; its output is thrown away. */
static void report(const char *file, const char *options)
{
    char command[1200];
    snprintf(command, sizeof command, "%s/tollgatectl report --ledger %s %s > /dev/null", program_folder, file, options);
    int64_t start = clock_mono_us();
    int rc = system(command);
    if (WIFSIGNALED(rc) && (WTERMSIG(rc) == SIGINT || WTERMSIG(rc) == SIGQUIT)) /* which system() keeps from us */
        on_signal(SIGINT);
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

static struct ledger *open_or_exit(const char *file)
{
    char why[300];
    struct ledger *l = ledger_open(&(struct ledger_options){ .file = file }, why, sizeof why);
    if (l)
        return l;
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static struct {
    int64_t began_us, told_us;
    size_t first, last; /* rows to fill; last 0: nothing is told */
} filling;

static void tell_progress(size_t done)
{
    int64_t now = clock_mono_us(), took = now - filling.began_us;
    if (filling.last == 0 || now - filling.told_us < PROGRESS_US || done == 0)
        return;
    filling.told_us = now;
    size_t all = filling.last - filling.first;
    int64_t left = (int64_t)((double)took / 1e6 * (double)(all - done) / (double)done);
    fprintf(stderr, "filling: %zu of %zu rows, %.0f rows/s, about %lld:%02lld min left\n", filling.first + done, filling.last, (double)done * 1e6 / (double)took,
            (long long)left / 60, (long long)left % 60);
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
        tell_progress(done + n);
    }
}

/* False after saying so when the file system has less than the largest size will take. */
static bool room_for(size_t rows)
{
    struct statvfs v;
    int64_t needed = (int64_t)rows * ROW_BYTES + 2 * WAL_BYTES;
    if (statvfs(".", &v) != 0)
        return true;
    int64_t there = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    printf("up to %zu rows: takes up to %lld MiB here while it runs, %lld MiB are free\n", rows, (long long)needed >> 20, (long long)there >> 20);
    fflush(stdout);
    if (there < needed)
        fprintf(stderr, "not enough space in the current directory; run it elsewhere or with fewer rows\n");
    return there >= needed;
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
    printf("%zu rows: decisions %.0f/s, %.2f us CPU, %.2f of an empty ledger's rate; settlements %.0f/s, %.2f us CPU, %.2f; both %.2f;"
           " longest group %.1f ms (empty %.1f); %zu failed\n",
           existing, rate(&d), (double)d.cpu_us / (double)d.rows, rate(&d) / rate(&d0), rate(&s), (double)s.cpu_us / (double)s.rows, rate(&s) / rate(&s0),
           (double)(d0.us + s0.us) / (double)(d.us + s.us), (double)(d.longest_us > s.longest_us ? d.longest_us : s.longest_us) / 1000,
           (double)(d0.longest_us > s0.longest_us ? d0.longest_us : s0.longest_us) / 1000, d.failed + s.failed + d0.failed + s0.failed);
}

static int curve(size_t largest, const char *given)
{
    if (!room_for(largest))
        return 1;
    const char *file = given ? given : make_own(0, "./bench-ledger-XXXXXX"), *empty = make_own(1, "./bench-empty-XXXXXX");
    size_t have = 0;
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
        filling.began_us = filling.told_us = clock_mono_us();
        filling.first = have;
        filling.last = size > have ? size : 0;
        if (size > have)
            add(l, &next, (size - have) / FILL_GROUP * FILL_GROUP, FILL_GROUP, CURVE_USERS, clock_wall_us() - days + (int64_t)have * step, step, &ignored, &ignored);
        filling.last = 0;
        printf("%s%zu rows filled in %.0f s\n", size > 10000 ? "\n" : "", size, (double)(clock_mono_us() - filling.began_us) / 1e6);
        fflush(stdout);
        compare(l, &next, size, empty);
        ledger_close(l);
        if (stat(file, &st) == 0)
            printf("%lld rows, %lld MiB, %.0f bytes a row\n", (long long)next - 1, (long long)st.st_size >> 20, (double)st.st_size / (double)(next - 1));
        reports(file);
        fflush(stdout);
    }
    remove_ledger(empty);
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
    watch_signals();
    if ((argc == 3 || argc == 4) && strcmp(argv[1], "curve") == 0)
        return curve((size_t)atol(argv[2]), argc == 4 ? argv[3] : NULL);
    size_t rows = argc > 1 ? (size_t)atol(argv[1]) : 200000, size = argc > 2 ? (size_t)atol(argv[2]) : 50;
    int n_users = argc > 3 ? atoi(argv[3]) : 500;
    char why[300];
    bool temporary = argc < 5;
    if (size == 0 || rows < size || n_users < 1 || n_users > USERS_MAX) {
        fprintf(stderr, "usage: bench_ledger_rate [rows] [group] [users, at most %d] [file]\n", USERS_MAX);
        return 2;
    }
    rows -= rows % size; /* a slice is a whole number of groups */
    const char *file = temporary ? make_own(0, "./bench-ledger-XXXXXX") : argv[4];
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
