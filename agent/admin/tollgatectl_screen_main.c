#include "admin/tollgatectl_top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"

/* Of the process: a signal handler has to reach them. */
static struct termios before;
static volatile sig_atomic_t entered, ended, suspended, resized;

void screen_line(struct screen *s, enum ctl_colour colour, const char *format, ...)
{
    va_list args;

    if (s->count == SCREEN_LINES)
        return;
    s->lines[s->count].colour = colour;
    va_start(args, format);
    vsnprintf(s->lines[s->count].text, SCREEN_LINE, format, args);
    va_end(args);
    s->count++;
}

static void put_all(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDOUT_FILENO, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
    }
}

static void raw(void)
{
    struct termios t = before;

    t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &t);
    put_all(ENTER, sizeof ENTER - 1);
    entered = 1;
}

void terminal_leave(void)
{
    if (!entered)
        return;
    entered = 0;
    put_all(LEAVE, sizeof LEAVE - 1);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

static void on_signal(int number)
{
    if (number == SIGWINCH)
        resized = 1;
    else if (number == SIGTSTP)
        suspended = 1;
    else
        ended = number;
}

bool terminal_enter(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };
    struct sigaction act = { .sa_handler = on_signal };
    const char *term = getenv("TERM");

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || term == NULL || term[0] == '\0' || strcmp(term, "dumb") == 0 ||
        tcgetattr(STDIN_FILENO, &before) != 0)
        return false;
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &act, NULL);
    atexit(terminal_leave);
    raw();
    return true;
}

/* The first `columns` characters of UTF-8; a byte that begins none counts as one. */
static size_t fitting(const char *text, unsigned columns)
{
    size_t i = 0;

    for (; text[i] != '\0'; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80 && columns-- == 0)
            break;
    return i;
}

void terminal_show(const struct screen *s, bool colour)
{
    struct winsize w = { .ws_row = 24, .ws_col = 80 };
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    if (out == NULL)
        return;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_row == 0 || w.ws_col == 0)
        w = (struct winsize){ .ws_row = 24, .ws_col = 80 };
    fputs("\033[H", out);
    for (size_t i = 0; i < s->count && i < w.ws_row; i++)
        fprintf(out, "%s%s%.*s%s\033[K", i > 0 ? "\r\n" : "", ctl_colour(colour, s->lines[i].colour), (int)fitting(s->lines[i].text, w.ws_col),
                s->lines[i].text, ctl_colour(colour, CTL_PLAIN));
    fputs("\033[J", out);
    if (fclose(out) == 0)
        put_all(text, n); /* one write: nothing is seen half drawn */
    free(text);
}

static void suspend(void)
{
    suspended = 0;
    terminal_leave();
    raise(SIGSTOP);
    tcgetattr(STDIN_FILENO, &before);
    raw();
}

int terminal_key(long timeout_ms)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    unsigned char c;

    int ready = ended || suspended || resized ? -1 : poll(&in, 1, (int)timeout_ms);
    if (ended)
        return -1;
    if (suspended)
        suspend();
    resized = 0;
    if (ready <= 0)
        return 0;
    ssize_t n = read(STDIN_FILENO, &c, 1);
    return n == 1 ? c : n < 0 && errno == EINTR ? 0 : -1;
}
