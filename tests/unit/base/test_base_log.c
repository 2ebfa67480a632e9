/* Log lines: hostile values in both formats, lines cut where they must be, entries of the journal. JSON is read back by a strict parser. */
#include "base/log.h"
#include "base/log_text.h"
#include "base/redact.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static int pipe_fds[2];

static int setup(void **state)
{
    (void)state;
    if (pipe(pipe_fds) != 0)
        return -1;
    log_set_fd(pipe_fds[1]);
    return 0;
}

/* The one line written since the last call, without its line break. */
static char *line(void)
{
    static char buf[8192];
    ssize_t n = read(pipe_fds[0], buf, sizeof buf - 1);
    assert_true(n > 0 && n <= 4096);
    buf[n] = '\0';
    assert_ptr_equal(strchr(buf, '\n'), buf + n - 1); /* one line, whatever is in it */
    buf[n - 1] = '\0';
    for (ssize_t i = 0; i < n - 1; i++)
        assert_true(buf[i] >= ' ' && buf[i] < 0x7f);
    return buf;
}

/* What comes after time and level, which every line has. */
static const char *rest(const char *text)
{
    const char *p = strchr(text, ' ');
    assert_non_null(p);
    p = strchr(p + 1, ' ');
    assert_non_null(p);
    return p + 1;
}

static const struct {
    struct slice in;
    const char *fmt, *json;
} hostile[] = {
    { SLICE_LIT("plain"), "plain", "plain" },
    { SLICE_LIT(""), "\"\"", "" },
    { SLICE_LIT("two words"), "\"two words\"", "two words" },
    { SLICE_LIT("a=b"), "\"a=b\"", "a=b" },
    { SLICE_LIT("x\" level=error forged=\"1"), "\"x\\\" level=error forged=\\\"1\"", "x\" level=error forged=\"1" },
    { SLICE_LIT("\",\"event\":\"allowed"), "\"\\\",\\\"event\\\":\\\"allowed\"", "\",\"event\":\"allowed" },
    { SLICE_LIT("line\nbreak\r\n2026-01-01"), "\"line\\x0abreak\\x0d\\x0a2026-01-01\"", "line\nbreak\r\n2026-01-01" },
    { SLICE_LIT("\x1b[2J\x1b]0;title\x07"), "\"\\x1b[2J\\x1b]0;title\\x07\"", "\x1b[2J\x1b]0;title\x07" },
    { SLICE_LIT("back\\slash\\"), "\"back\\\\slash\\\\\"", "back\\slash\\" },
    { SLICE_LIT("M\xc3\xbcller"), "\"M\\xc3\\xbcller\"", "M\xc3\xbcller" },
    { SLICE_LIT("\xf0\x9f\x92\xb8"), "\"\\xf0\\x9f\\x92\\xb8\"", "\xf0\x9f\x92\xb8" },
    { SLICE_LIT("c1 \xc2\x9b" "31m"), "\"c1 \\xc2\\x9b31m\"", "c1 \xc2\x9b" "31m" },
    { SLICE_LIT("\xff\xfe invalid \xc3"), "\"\\xff\\xfe invalid \\xc3\"", "\xef\xbf\xbd\xef\xbf\xbd invalid \xef\xbf\xbd" },
    { SLICE_LIT("\xc0\xaf overlong"), "\"\\xc0\\xaf overlong\"", "\xef\xbf\xbd\xef\xbf\xbd overlong" },
    { SLICE_LIT("\xed\xa0\x80"), "\"\\xed\\xa0\\x80\"", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* a surrogate */
    { SLICE_LIT("\xf4\x90\x80\x80"), "\"\\xf4\\x90\\x80\\x80\"", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* beyond U+10FFFF */
    { SLICE_LIT("\x7f"), "\"\\x7f\"", "\x7f" },
};

static void test_hostile_values_as_logfmt(void **state)
{
    char expected[512];

    (void)state;
    log_set_format(LOG_FORMAT_FMT);
    for (size_t i = 0; i < COUNT(hostile); i++) {
        LOG(LOG_LEVEL_INFO, "denied", LOG_STR("user", hostile[i].in), LOG_INT("status", 429), LOG_BOOL("stream", true));
        snprintf(expected, sizeof expected, "denied user=%s status=429 stream=true", hostile[i].fmt);
        assert_string_equal(rest(line()), expected);
    }
}

static void test_hostile_values_as_json(void **state)
{
    const char *end;

    (void)state;
    log_set_format(LOG_FORMAT_JSON);
    for (size_t i = 0; i < COUNT(hostile); i++) {
        LOG(LOG_LEVEL_WARN, "denied", LOG_STR("user", hostile[i].in), LOG_INT("status", -429), LOG_BOOL("stream", false));
        char *text = line();
        cJSON *o = cJSON_ParseWithOpts(text, &end, true);
        assert_non_null(o);
        assert_int_equal(cJSON_GetArraySize(o), 6);
        assert_string_equal(cJSON_GetObjectItemCaseSensitive(o, "level")->valuestring, "warn");
        assert_string_equal(cJSON_GetObjectItemCaseSensitive(o, "event")->valuestring, "denied");
        assert_string_equal(cJSON_GetObjectItemCaseSensitive(o, "user")->valuestring, hostile[i].json);
        assert_int_equal(cJSON_GetObjectItemCaseSensitive(o, "status")->valueint, -429);
        assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(o, "stream")));
        cJSON_Delete(o);
    }
    LOG(LOG_LEVEL_INFO, "x", LOG_INT("least", INT64_MIN), LOG_INT("most", INT64_MAX), LOG_INT("none", 0), LOG_INT("minus", -7));
    assert_non_null(strstr(line(), ",\"least\":-9223372036854775808,\"most\":9223372036854775807,\"none\":0,\"minus\":-7}"));
    LOG(LOG_LEVEL_INFO, "x", LOG_STR("nul", SLICE_LIT("a\0b")));
    assert_non_null(strstr(line(), "\"a\\u0000b\""));
    log_set_format(LOG_FORMAT_FMT);
}

/* Many long values: what does not fit is left out, the line stays whole and says so. */
static void test_long_lines_are_cut(void **state)
{
    char value[3000];
    const char *end;

    (void)state;
    memset(value, 1, sizeof value); /* six characters each in JSON */
    struct slice v = slice_make(value, sizeof value);
    log_set_format(LOG_FORMAT_JSON);
    LOG(LOG_LEVEL_INFO, "long", LOG_STR("a", v), LOG_STR("b", v), LOG_INT("c", 1));
    char *text = line();
    assert_in_range(strlen(text), 3900, 4095);
    cJSON *o = cJSON_ParseWithOpts(text, &end, true);
    assert_non_null(o);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "cut")));
    cJSON_Delete(o);
    log_set_format(LOG_FORMAT_FMT);
    LOG(LOG_LEVEL_INFO, "long", LOG_STR("a", v), LOG_STR("b", v), LOG_INT("c", 1));
    text = line();
    assert_string_equal(text + strlen(text) - 9, " cut=true");
    assert_null(strstr(text, " c=1"));
}

/* A secret with bytes that are escaped, or at the place where a value is cut, is found all the same. */
static void test_no_secret_in_any_format(void **state)
{
    static const char key[] = "s\xc3\xa4\x01" "cret-key\"0123456789";
    struct redact_entry *e = redact_add(slice_cstr(key), NULL);
    char value[1400];

    (void)state;
    memset(value, 'x', sizeof value);
    memcpy(value + 1012, key, sizeof key - 1); /* values are cut at 1024 */
    for (int format = LOG_FORMAT_FMT; format <= LOG_FORMAT_JSON; format++) {
        log_set_format((enum log_format)format);
        LOG(LOG_LEVEL_INFO, "a", LOG_CSTR("v", key));
        char *text = line();
        assert_non_null(strstr(text, "[secret]"));
        assert_null(strstr(text, "cret-key"));
        LOG(LOG_LEVEL_INFO, "a", LOG_STR("v", slice_make(value, sizeof value)));
        text = line();
        assert_non_null(strstr(text, "xxx[secret]\""));
        assert_null(strstr(text, "cret-"));
    }
    log_set_format(LOG_FORMAT_FMT);
    redact_remove(e);
}

static void test_journal_values(void **state)
{
    static const struct {
        struct slice in;
        const char *out;
    } rows[] = {
        { SLICE_LIT("M\xc3\xbcller"), "M\xc3\xbcller" },
        { SLICE_LIT("a\nMESSAGE=forged"), "a\\x0aMESSAGE=forged" },
        { SLICE_LIT("\x1b[31m\xc2\x9b"), "\\x1b[31m\\xc2\\x9b" },
        { SLICE_LIT("\xff"), "\\xff" },
    };
    char out[64];
    size_t used;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t n = log_text_escape(LOG_ESCAPE_JOURNAL, out, sizeof out, rows[i].in, &used);
        assert_int_equal(used, rows[i].in.n);
        assert_true(slice_eq_cstr(slice_make(out, n), rows[i].out));
    }
    assert_int_equal(log_text_escape(LOG_ESCAPE_JOURNAL, out, 1, SLICE_LIT("\xc3\xbc"), &used), 0); /* whole characters only */
    assert_int_equal(used, 0);
}

static void test_entries_of_the_journal(void **state)
{
    char folder[] = "/tmp/tg-log-XXXXXX", buf[16384], stream[64];
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(at.sun_path, sizeof at.sun_path, "%s/journal", folder);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(fstat(pipe_fds[1], &st), 0);
    assert_false(log_use_journal(NULL, at.sun_path));
    assert_false(log_use_journal("1:1", at.sun_path)); /* another stream is the journal's: lines stay lines */
    LOG(LOG_LEVEL_INFO, "a_line", LOG_INT("n", 1));
    assert_string_equal(rest(line()), "a_line n=1");
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    assert_true(log_use_journal(stream, at.sun_path));
    LOG(LOG_LEVEL_WARN, "denied", LOG_CSTR("request_id", "r-1"), LOG_CSTR("team", "a\nPRIORITY=0"), LOG_INT("status", 429), LOG_BOOL("stream", true));
    ssize_t n = recv(fd, buf, sizeof buf - 1, 0);
    assert_true(n > 0);
    buf[n] = '\0';
    assert_string_equal(buf, "PRIORITY=4\nSYSLOG_IDENTIFIER=tollgate\nTOLLGATE_EVENT=denied\n"
                             "MESSAGE=denied request_id=r-1 team=\"a\\x0aPRIORITY=0\" status=429 stream=true\n"
                             "TOLLGATE_REQUEST_ID=r-1\nTOLLGATE_TEAM=a\\x0aPRIORITY=0\nTOLLGATE_STATUS=429\nTOLLGATE_STREAM=true\n");
    log_set_format(LOG_FORMAT_JSON);
    LOG(LOG_LEVEL_ERROR, "denied", LOG_CSTR("request_id", "r-1"));
    n = recv(fd, buf, sizeof buf - 1, 0);
    assert_true(n > 0);
    buf[n] = '\0';
    assert_non_null(strstr(buf, "MESSAGE={\"ts\":\""));
    assert_non_null(strstr(buf, "\"request_id\":\"r-1\"}\nTOLLGATE_REQUEST_ID=r-1\n"));
    log_set_format(LOG_FORMAT_FMT);
    close(fd); /* the journal is gone: the line is written */
    LOG(LOG_LEVEL_INFO, "a_line", LOG_INT("n", 2));
    assert_string_equal(rest(line()), "a_line n=2");
    unlink(at.sun_path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_values_as_logfmt),
        cmocka_unit_test(test_hostile_values_as_json),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_no_secret_in_any_format),
        cmocka_unit_test(test_journal_values),
        cmocka_unit_test(test_entries_of_the_journal),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
