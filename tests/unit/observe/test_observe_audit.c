/* The audit log: survives what kills a process, and shows what was done to it. */
#include "observe/audit.h"

#include "base/log.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char folder[64], file[96], why[512];
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    snprintf(p->folder, sizeof p->folder, "/tmp/tollgate-audit-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->file, sizeof p->file, "%s/audit.log", p->folder);
    log_set_level(LOG_LEVEL_ERROR);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    unlink(p->file);
    rmdir(p->folder);
    free(p);
    return 0;
}

static struct audit *opened(struct place *p)
{
    struct audit *a = audit_open(p->file, p->why, sizeof p->why);
    if (a == NULL)
        fail_msg("%s", p->why);
    return a;
}

static void note(struct audit *a, const char *action)
{
    assert_true(audit_append(a, &(struct audit_entry){ .actor = SLICE_LIT("uid 0"), .action = slice_cstr(action),
                                                       .object = SLICE_LIT("a \"b\" \\ \n\xc3\xab\xff"), .detail = SLICE_NONE }));
}

static void three_entries(struct place *p)
{
    struct audit *a = opened(p);
    note(a, "first");
    note(a, "second");
    audit_close(a);
    a = opened(p); /* goes on with the chain */
    note(a, "third");
    audit_close(a);
}

struct seen {
    int count;
    char actions[256], object[64], hash[8][AUDIT_HASH_BYTES];
};

static void on_line(void *user, const struct audit_line *l)
{
    struct seen *s = user;

    strcat(s->actions, l->action);
    strcat(s->actions, " ");
    snprintf(s->object, sizeof s->object, "%s", l->object);
    snprintf(s->hash[s->count++ % 8], AUDIT_HASH_BYTES, "%s", l->hash);
}

static struct audit_verified verified(struct place *p, const char *sought, struct seen *s)
{
    struct audit_verified v;

    memset(s, 0, sizeof *s);
    assert_true(audit_verify(p->file, sought, on_line, s, &v, p->why, sizeof p->why));
    return v;
}

static void test_chain(void **state)
{
    struct place *p = *state;
    struct seen s;
    struct stat st;
    char second[AUDIT_HASH_BYTES];

    three_entries(p);
    struct audit_verified v = verified(p, NULL, &s);
    assert_int_equal(v.bad_line, 0);
    assert_int_equal(v.entries, 3);
    assert_string_equal(s.actions, "first second third ");
    assert_string_equal(s.object, "a \"b\" \\ \n\xc3\xab\xef\xbf\xbd");
    assert_string_equal(v.head, s.hash[2]);
    memcpy(second, s.hash[1], sizeof second);
    assert_true(verified(p, second, &s).sought_found);
    assert_false(verified(p, "00", &s).sought_found);
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* A file as one text, and back. */
static char *file_read(const char *file)
{
    FILE *f = fopen(file, "re");
    char *text = calloc(1, 65536);

    assert_non_null(f);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

static void file_write(const char *file, const char *text)
{
    FILE *f = fopen(file, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

static void test_tampering(void **state)
{
    struct place *p = *state;
    struct seen s;

    three_entries(p);
    char *text = file_read(p->file), *changed = strdup(text);
    /* Every single character, changed, is found, at its line. */
    for (size_t i = 0, line = 1; text[i] != '\0'; line += text[i++] == '\n') {
        changed[i] = text[i] == 'x' ? 'y' : 'x';
        file_write(p->file, changed);
        struct audit_verified v = verified(p, NULL, &s);
        if (v.bad_line == 0 || v.bad_line > (int64_t)line)
            fail_msg("a change of byte %zu in line %zu was not found", i, line);
        changed[i] = text[i];
    }
    /* A line taken out, two swapped, one said twice. */
    char *two = strchr(text, '\n') + 1, *three = strchr(two, '\n') + 1;
    snprintf(changed, strlen(text) + 1, "%.*s%s", (int)(two - text), text, three);
    file_write(p->file, changed);
    assert_int_equal(verified(p, NULL, &s).bad_line, 2);
    snprintf(changed, strlen(text) + 1, "%.*s%s%.*s", (int)(two - text), text, three, (int)(three - two), two);
    file_write(p->file, changed);
    assert_int_equal(verified(p, NULL, &s).bad_line, 2);
    file_write(p->file, two);
    assert_int_equal(verified(p, NULL, &s).bad_line, 1);
    /* The end cut off: only who knows a hash can tell. */
    file_write(p->file, text);
    char last[AUDIT_HASH_BYTES];
    snprintf(last, sizeof last, "%s", verified(p, NULL, &s).head);
    snprintf(changed, strlen(text) + 1, "%.*s", (int)(three - text), text);
    file_write(p->file, changed);
    struct audit_verified v = verified(p, last, &s);
    assert_int_equal(v.bad_line, 0);
    assert_false(v.sought_found);
    free(text);
    free(changed);
}

/* Half a line, as a crash leaves it: cut off at the next start, and the chain goes on. */
static void test_half_a_line(void **state)
{
    struct place *p = *state;
    struct seen s;

    three_entries(p);
    char *text = file_read(p->file);
    char *half = strdup(text);
    half[strlen(half) - 40] = '\0';
    file_write(p->file, half);
    assert_int_equal(verified(p, NULL, &s).bad_line, 3);
    struct audit *a = opened(p);
    note(a, "again");
    audit_close(a);
    struct audit_verified v = verified(p, NULL, &s);
    assert_int_equal(v.bad_line, 0);
    assert_string_equal(s.actions, "first second again ");
    /* A whole last line that is not what was written is nobody's crash. */
    text[strlen(text) - 60] ^= 1;
    file_write(p->file, text);
    assert_null(audit_open(p->file, p->why, sizeof p->why));
    assert_non_null(strstr(p->why, "damaged"));
    free(text);
    free(half);
}

static void test_one_at_a_time(void **state)
{
    struct place *p = *state;
    struct audit *a = opened(p);

    assert_null(audit_open(p->file, p->why, sizeof p->why));
    assert_non_null(strstr(p->why, "another process"));
    audit_close(a);
    assert_null(audit_open("/nowhere/audit.log", p->why, sizeof p->why));
    assert_non_null(strstr(p->why, "/nowhere/audit.log"));
}

/* What was appended before kill -9 is there. */
static void test_kill(void **state)
{
    struct place *p = *state;
    struct seen s;
    int pipes[2], status;
    char byte;

    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        struct audit *a = audit_open(p->file, p->why, sizeof p->why);
        for (int i = 0; i < 200 && a != NULL; i++)
            if (audit_append(a, &(struct audit_entry){ .actor = SLICE_LIT("uid 0"), .action = SLICE_LIT("act") }) && write(pipes[1], "+", 1) != 1)
                _exit(1);
        pause();
    }
    for (int i = 0; i < 200; i++)
        assert_int_equal(read(pipes[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    close(pipes[0]);
    close(pipes[1]);
    struct audit_verified v = verified(p, NULL, &s);
    assert_int_equal(v.bad_line, 0);
    assert_int_equal(v.entries, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tampering, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
