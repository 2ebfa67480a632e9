/* Inside of the console: the server's state and how handlers answer. */
#ifndef TOLLGATE_CONSOLE_PRIVATE_H
#define TOLLGATE_CONSOLE_PRIVATE_H

#include "console/console.h"
#include "console/data.h"
#include "console/session.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

struct console {
    struct console_options o;
    struct MHD_Daemon *daemon;
    struct sessions *sessions;
    struct data *data;
    uint8_t key[32];           /* what sign-ins under way are derived from */
    char *base;                /* "/tollgate/console" */
    char *origin;              /* "https://ai.example.com" */
    bool secure;               /* url is https */
    char session_cookie[40], attempt_cookie[40];
    pthread_mutex_t lock;
    pthread_cond_t stopping_changed;
    bool stopping;             /* under lock */
    atomic_uint streams;
};

/* One request, with its session when it has one. */
struct exchange {
    struct console *c;
    struct MHD_Connection *connection;
    const char *path;          /* below the base: "/", "/api/me" */
    bool signed_in;
    struct console_person who;
};

/* ---- answers (http.c); all carry the security headers ---------------------------------------------------------------- */

/* `text` is freed (malloc). `cookie`: a Set-Cookie value or NULL. */
enum MHD_Result http_answer(struct exchange *x, unsigned status, const char *type, char *text, size_t n, const char *cookie);
enum MHD_Result http_error(struct exchange *x, unsigned status, const char *message);   /* {"error": message} */
enum MHD_Result http_page(struct exchange *x, unsigned status, const char *title, const char *message, const char *link, const char *label);
enum MHD_Result http_redirect(struct exchange *x, const char *location, const char *cookies[2]);
/* A response that somebody else made: gets the headers, is queued and released. */
enum MHD_Result http_queue(struct exchange *x, unsigned status, struct MHD_Response *r);
/* A file of the page; MHD_NO is never returned for unknown names: 404. */
enum MHD_Result http_file(struct exchange *x, const char *name);
/* The request's cookie of that name; p NULL: none. */
struct slice http_cookie(struct exchange *x, const char *name);
/* "name=value; Path=...; HttpOnly; SameSite=Lax[; Secure]; Max-Age=..." */
void http_cookie_make(const struct console *c, const char *name, const char *value, int64_t seconds, char *out, size_t size);
const char *http_argument(struct exchange *x, const char *name);

/* ---- handlers -------------------------------------------------------------------------------------------------------- */

enum MHD_Result login_begin(struct exchange *x);
enum MHD_Result login_callback(struct exchange *x);
enum MHD_Result login_end(struct exchange *x);
enum MHD_Result api_handle(struct exchange *x, const char *name);
enum MHD_Result live_handle(struct exchange *x);

/* What a session may see, into a question. */
void api_scope(const struct exchange *x, struct question *q);
/* Waits at most `ms`; true: the console is stopping. */
bool console_pause(struct console *c, int ms);

/* The page's files, built into the program (extra.cmake). */
struct console_file {
    const char *name, *type;
    const unsigned char *bytes;
    const unsigned long *size;
};
extern const struct console_file console_files[]; /* ends with a NULL name */

#endif
