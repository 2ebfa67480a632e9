#include "console/private.h"

#include "console/oidc.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

/* Everything the page needs comes from here; nothing inline, nothing from elsewhere, nobody frames it. */
static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; font-src 'self'; "
                             "form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

enum MHD_Result http_queue(struct exchange *x, unsigned status, struct MHD_Response *r)
{
    MHD_add_response_header(r, "Content-Security-Policy", policy);
    MHD_add_response_header(r, "Connection", "close"); /* the request with its cookie stays in memory as long as the connection */
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "same-origin");
    MHD_add_response_header(r, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    if (MHD_get_response_header(r, "Cache-Control") == NULL)
        MHD_add_response_header(r, "Cache-Control", "no-store");
    enum MHD_Result rc = MHD_queue_response(x->connection, status, r);
    MHD_destroy_response(r);
    return rc;
}

enum MHD_Result http_answer(struct exchange *x, unsigned status, const char *type, char *text, size_t n, const char *cookie)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE);

    if (r == NULL) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", type);
    if (cookie != NULL)
        MHD_add_response_header(r, "Set-Cookie", cookie);
    return http_queue(x, status, r);
}

enum MHD_Result http_error(struct exchange *x, unsigned status, const char *message)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    if (out == NULL)
        return MHD_NO;
    fputs("{\"error\":", out);
    json_text(out, message);
    fputs("}\n", out);
    if (fclose(out) != 0) {
        free(text);
        return MHD_NO;
    }
    return http_answer(x, status, "application/json", text, n, NULL);
}

static void html_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc(*text, out);
        }
}

enum MHD_Result http_page(struct exchange *x, unsigned status, const char *title, const char *message, const char *link, const char *label)
{
    char *text = NULL, gone[512];
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    if (out == NULL)
        return MHD_NO;
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>", out);
    html_text(out, title);
    fprintf(out, " · tollgate</title>\n<link rel=\"icon\" href=\"%s/icon.svg\">\n<link rel=\"stylesheet\" href=\"%s/app.css\">\n</head>\n"
            "<body class=\"notice\">\n<main>\n<h1>", x->c->base, x->c->base);
    html_text(out, title);
    fputs("</h1>\n<p>", out);
    html_text(out, message);
    fputs("</p>\n<p><a class=\"button\" href=\"", out);
    html_text(out, link);
    fputs("\">", out);
    html_text(out, label);
    fputs("</a></p>\n</main>\n</body>\n</html>\n", out);
    if (fclose(out) != 0) {
        free(text);
        return MHD_NO;
    }
    http_cookie_make(x->c, x->c->attempt_cookie, "", 0, gone, sizeof gone);
    return http_answer(x, status, "text/html; charset=utf-8", text, n, gone);
}

enum MHD_Result http_redirect(struct exchange *x, const char *location, const char *cookies[2])
{
    struct MHD_Response *r = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, "Location", location);
    for (int i = 0; i < 2 && cookies[i] != NULL; i++)
        MHD_add_response_header(r, "Set-Cookie", cookies[i]);
    return http_queue(x, MHD_HTTP_SEE_OTHER, r);
}

enum MHD_Result http_file(struct exchange *x, const char *name)
{
    const struct console_file *f = console_files;
    uint8_t hash[SHA256_DIGEST_LENGTH];
    char tag[50] = "\"";

    while (f->name != NULL && strcmp(f->name, name) != 0)
        f++;
    if (f->name == NULL)
        return http_error(x, MHD_HTTP_NOT_FOUND, "there is no such page");
    SHA256(f->bytes, *f->size, hash);
    oidc_base64url(hash, 32, tag + 1);
    strcat(tag, "\"");
    const char *known = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "If-None-Match");
    bool same = known != NULL && strcmp(known, tag) == 0;
    struct MHD_Response *r = MHD_create_response_from_buffer(same ? 0 : *f->size, (void *)(uintptr_t)f->bytes, MHD_RESPMEM_PERSISTENT);
    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, "Content-Type", f->type);
    MHD_add_response_header(r, "ETag", tag);
    MHD_add_response_header(r, "Cache-Control", "no-cache");
    return http_queue(x, same ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, r);
}

struct slice http_cookie(struct exchange *x, const char *name)
{
    return slice_cstr(MHD_lookup_connection_value(x->connection, MHD_COOKIE_KIND, name));
}

const char *http_argument(struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* The path keeps the cookie away from the gateway's other addresses: it must never travel to a provider. */
void http_cookie_make(const struct console *c, const char *name, const char *value, int64_t seconds, char *out, size_t size)
{
    snprintf(out, size, "%s=%s; Path=%s; Max-Age=%lld; HttpOnly; SameSite=Lax%s", name, value, c->base, (long long)seconds,
             c->secure ? "; Secure" : "");
}
