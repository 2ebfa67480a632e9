/* HAProxy: the program, the generated files, and what `tollgate check --haproxy` and HAProxy itself say of all files together. */
#include "admin/tollgatectl_doctor.h"
#include "config/config.h"
#include "manage/haproxy_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { OUTPUT = 4096, ARGV = 2 * HAPROXY_FILES_MAX + 8 };

/* Runs it; the beginning of what it prints goes to `out`. Its exit status, or -1 when it cannot be run. */
static int run(char *const argv[], char out[OUTPUT])
{
    posix_spawn_file_actions_t actions;
    int ends[2], status = -1;
    size_t n = 0;
    char rest[1024];
    pid_t pid;

    out[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    int rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    close(ends[1]);
    posix_spawn_file_actions_destroy(&actions);
    for (ssize_t got = 1; rc == 0 && got > 0;) {
        got = n < OUTPUT - 1 ? read(ends[0], out + n, OUTPUT - 1 - n) : read(ends[0], rest, sizeof rest);
        if (got > 0 && n < OUTPUT - 1)
            n += (size_t)got;
    }
    close(ends[0]);
    out[n] = '\0';
    if (rc != 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* The first line that says what is wrong, without the time and process in front of it. */
static const char *first_complaint(char *text)
{
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (strstr(line, "[ALERT]") != NULL || strstr(line, "unsafe:") != NULL || strstr(line, "conflict:") != NULL) {
            char *at = strstr(line, ": config : ");
            return at != NULL ? at + 11 : line;
        }
    return "";
}

static bool program(struct doctor *d)
{
    char out[OUTPUT], *argv[] = { (char *)d->haproxy_program, "-v", NULL };
    unsigned major = 0, minor = 0;

    if (run(argv, out) != 0) {
        doctor_say(d, DOCTOR_WARNING, "haproxy", d->haproxy_program, "apt install haproxy, or name it with --haproxy-program", "cannot be run here");
        return false;
    }
    out[strcspn(out, "\n")] = '\0';
    const char *v = strstr(out, "version ");
    bool known = v != NULL && sscanf(v, "version %u.%u", &major, &minor) == 2;
    if (!known || major < 2 || (major == 2 && minor < 6))
        doctor_say(d, DOCTOR_FAILURE, "haproxy", d->haproxy_program, "2.6 or later is needed", "%.100s", out);
    else
        doctor_say(d, DOCTOR_OK, "haproxy", d->haproxy_program, NULL, "version %u.%u", major, minor);
    return true;
}

/* The user's files, else those of the configuration or Debian's, then the generated one unless it is among them. */
static size_t files_of(struct doctor *d, char generated[4096], const char *files[HAPROXY_FILES_MAX + 1])
{
    size_t n = 0;
    bool named = false;

    snprintf(generated, 4096, "%s/tollgate.cfg", d->config->haproxy.conf_dir);
    for (; n < d->haproxy_count; n++) {
        files[n] = d->haproxy[n];
        named = named || strcmp(files[n], generated) == 0;
    }
    for (unsigned i = 0; d->haproxy_count == 0 && i < d->config->haproxy.files_count && n < HAPROXY_FILES_MAX; i++)
        files[n++] = d->config->haproxy.files[i];
    if (n == 0 && access("/etc/haproxy/haproxy.cfg", R_OK) == 0)
        files[n++] = "/etc/haproxy/haproxy.cfg";
    if (!named)
        files[n++] = generated;
    return n;
}

static void review(struct doctor *d, const char *const *files, size_t n)
{
    char *text = NULL, fix[5000];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        return;
    int rc = haproxy_check(d->config, d->config_file, files, n, out, out);
    fclose(out);
    snprintf(fix, sizeof fix, "tollgate check --haproxy%s%s --config %s says all of it and which lines to add", n > 1 ? " " : " ", files[0], d->config_file);
    if (rc == 0)
        doctor_say(d, DOCTOR_OK, "haproxy-review", files[0], NULL, "nothing unsafe, nothing that contradicts; buffers hold haproxy.max_body (%" PRId64 " bytes)", d->config->haproxy.max_body);
    else
        doctor_say(d, DOCTOR_FAILURE, "haproxy-review", files[0], fix, "%s", rc == 2 ? strtok(text, "\n") : first_complaint(text));
    free(text);
}

static void itself(struct doctor *d, const char *const *files, size_t n)
{
    char out[OUTPUT], *argv[ARGV];
    size_t k = 0;

    argv[k++] = (char *)d->haproxy_program;
    argv[k++] = "-c";
    for (size_t i = 0; i < n; i++) {
        argv[k++] = "-f";
        argv[k++] = (char *)files[i];
    }
    argv[k] = NULL;
    if (run(argv, out) == 0)
        doctor_say(d, DOCTOR_OK, "haproxy-config", files[n - 1], NULL, "HAProxy accepts it");
    else
        doctor_say(d, DOCTOR_FAILURE, "haproxy-config", files[n - 1], "haproxy -c -f with these files says all of it", "HAProxy refuses it: %s", first_complaint(out));
}

void doctor_haproxy(struct doctor *d)
{
    const char *files[HAPROXY_FILES_MAX + 1];
    char generated[4096], fix[9000];
    bool there = program(d);
    size_t n = files_of(d, generated, files);

    if (access(generated, R_OK) != 0) {
        snprintf(fix, sizeof fix, "tollgate haproxy --config %s --out %s", d->config_file, d->config->haproxy.conf_dir);
        doctor_say(d, DOCTOR_FAILURE, "haproxy-config", generated, fix, "%s", strerror(errno));
        return;
    }
    review(d, files, n);
    if (there)
        itself(d, files, n);
}
