#include "admin/table.h"

#include "base/log_text.h"

#include <inttypes.h>
#include <stdlib.h>

enum { USD_DIGITS = 9, RATE_DIGITS = 6, DECIMALS_MIN = 2, NUMBER_SIZE = 32 };

struct cell {
    bool null;
    int64_t v;       /* text: its length */
    char *text;
};

struct table {
    const struct table_column *columns;
    size_t count;
    struct cell *cells;
    size_t used, room;
    bool failed;
};

struct table *table_new(const struct table_column *columns, size_t count)
{
    struct table *t = calloc(1, sizeof *t);

    if (t != NULL)
        *t = (struct table){ .columns = columns, .count = count };
    return t;
}

void table_free(struct table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->used; i++)
        free(t->cells[i].text);
    free(t->cells);
    free(t);
}

static struct cell *cell_add(struct table *t)
{
    if (t->used == t->room) {
        size_t room = t->room > 0 ? t->room * 2 : 256;
        struct cell *more = realloc(t->cells, room * sizeof *more);
        if (more == NULL) {
            t->failed = true;
            return NULL;
        }
        t->cells = more;
        t->room = room;
    }
    struct cell *c = &t->cells[t->used++];
    *c = (struct cell){ .null = false };
    return c;
}

void table_text(struct table *t, struct slice text)
{
    struct cell *c = cell_add(t);

    if (c == NULL)
        return;
    c->text = malloc(text.n + 1);
    if (c->text == NULL) {
        t->failed = true;
        return;
    }
    if (text.n > 0)
        memcpy(c->text, text.p, text.n);
    c->text[text.n] = '\0';
    c->v = (int64_t)text.n;
}

void table_int(struct table *t, int64_t v)
{
    struct cell *c = cell_add(t);

    if (c != NULL)
        c->v = v;
}

void table_null(struct table *t)
{
    struct cell *c = cell_add(t);

    if (c != NULL)
        c->null = true;
}

size_t table_rows(const struct table *t)
{
    return t->used / t->count;
}

static bool column_sum(const struct table *t, size_t column, int64_t *sum)
{
    *sum = 0;
    for (size_t i = column; i < t->used; i += t->count)
        if (!t->cells[i].null && __builtin_add_overflow(*sum, t->cells[i].v, sum))
            return false;
    return true;
}

int64_t table_sum(const struct table *t, size_t column)
{
    int64_t sum;

    return column_sum(t, column, &sum) ? sum : INT64_MAX;
}

void table_decimal(char *buf, size_t size, int64_t v, int scale, int decimals)
{
    uint64_t whole = v < 0 ? -(uint64_t)v : (uint64_t)v, unit = 1, cut = 1;
    char digits[20];

    for (int i = 0; i < scale; i++)
        unit *= 10;
    for (int i = decimals; i < scale; i++)
        cut *= 10;
    uint64_t fraction = whole % unit / cut;
    for (int i = decimals - 1; i >= 0; i--, fraction /= 10)
        digits[i] = (char)('0' + fraction % 10);
    snprintf(buf, size, "%s%" PRIu64 "%s%.*s", v < 0 ? "-" : "", whole / unit, decimals > 0 ? "." : "", decimals, digits);
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

static bool is_text(enum table_kind kind)
{
    return kind == TABLE_TEXT || kind == TABLE_FIGURE;
}

static int kind_scale(enum table_kind kind)
{
    return kind == TABLE_USD ? USD_DIGITS : kind == TABLE_RATE ? RATE_DIGITS : 0;
}

/* The fewest decimals that lose nothing of any cell, nor of the total. */
static int decimals_of(const struct table *t, size_t column)
{
    int scale = kind_scale(t->columns[column].kind), need = scale > 0 ? DECIMALS_MIN : 0;

    for (size_t i = column; i < t->used; i += t->count) {
        int64_t v = t->cells[i].v;
        int decimals = scale;
        while (decimals > need && v % 10 == 0) {
            v /= 10;
            decimals--;
        }
        if (decimals > need && !t->cells[i].null)
            need = decimals;
    }
    return need;
}

static const char *cell_show(const struct table *t, size_t column, const struct cell *c, int decimals, char *buf, size_t size)
{
    enum table_kind kind = t->columns[column].kind;

    if (c->null)
        return "-";
    if (is_text(kind))
        return c->text != NULL && c->text[0] != '\0' ? c->text : "-";
    table_decimal(buf, size, c->v, kind_scale(kind), decimals);
    return buf;
}

/* Characters, not bytes, so that names with accents keep their columns. */
static int width_of(const char *s)
{
    int n = 0;

    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

/* Control characters (C0, DEL, C1) could move a terminal's cursor: they are shown as '?'. */
static void put_aligned(FILE *out, const char *s, int width, bool left, bool last)
{
    int pad = width - width_of(s);

    if (!left)
        fprintf(out, "%*s", pad, "");
    for (; *s != '\0'; s++) {
        bool c1 = (unsigned char)s[0] == 0xC2 && ((unsigned char)s[1] & 0xE0) == 0x80;
        putc((unsigned char)*s < ' ' || *s == 0x7f || c1 ? '?' : *s, out);
        s += c1;
    }
    if (left && !last)
        fprintf(out, "%*s", pad, "");
    fputs(last ? "\n" : "  ", out);
}

static bool has_total(const struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->columns[i].total)
            return true;
    return false;
}

/* USD columns are headed by their name with a '$': the unit stands once, the figures stay plain. */
static void heading(const struct table_column *c, char *buf, size_t size)
{
    size_t n = strlen(c->name);

    if (c->kind == TABLE_USD && n > 4 && strcmp(c->name + n - 4, "_usd") == 0)
        snprintf(buf, size, "%.*s $", (int)n - 4, c->name);
    else
        snprintf(buf, size, "%s", c->name);
    for (char *p = buf; *p != '\0'; p++)
        *p = *p == '_' ? ' ' : *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
}

static int write_people(const struct table *t, FILE *out)
{
    int *widths = calloc(t->count, 2 * sizeof *widths), *decimals = widths + t->count;
    struct cell *totals = calloc(t->count, sizeof *totals);
    char buf[NUMBER_SIZE], name[64];
    int rc = -1;

    if (widths == NULL || totals == NULL)
        goto out;
    for (size_t k = 0; k < t->count; k++) {
        decimals[k] = decimals_of(t, k);
        heading(&t->columns[k], name, sizeof name);
        widths[k] = width_of(name);
        totals[k].null = !t->columns[k].total;
        if (t->columns[k].total && !column_sum(t, k, &totals[k].v))
            goto out;
        int w = totals[k].null ? 0 : width_of(cell_show(t, k, &totals[k], decimals[k], buf, sizeof buf));
        widths[k] = w > widths[k] ? w : widths[k];
        for (size_t i = k; i < t->used; i += t->count) {
            w = width_of(cell_show(t, k, &t->cells[i], decimals[k], buf, sizeof buf));
            widths[k] = w > widths[k] ? w : widths[k];
        }
    }
    if (has_total(t) && t->columns[0].kind == TABLE_TEXT && widths[0] < 5)
        widths[0] = 5;
    for (size_t k = 0; k < t->count; k++) {
        heading(&t->columns[k], name, sizeof name);
        put_aligned(out, name, widths[k], t->columns[k].kind == TABLE_TEXT, k + 1 == t->count);
    }
    for (size_t i = 0; i < t->used; i++) {
        size_t k = i % t->count;
        put_aligned(out, cell_show(t, k, &t->cells[i], decimals[k], buf, sizeof buf), widths[k], t->columns[k].kind == TABLE_TEXT,
                    k + 1 == t->count);
    }
    for (size_t k = 0; k < t->count && has_total(t); k++)
        put_aligned(out, k == 0 ? "total" : totals[k].null ? "" : cell_show(t, k, &totals[k], decimals[k], buf, sizeof buf), widths[k],
                    t->columns[k].kind == TABLE_TEXT, k + 1 == t->count);
    rc = 0;
out:
    free(widths);
    free(totals);
    return rc;
}

/* ---- for programs ------------------------------------------------------------------------------------------------ */

void table_csv_field(FILE *out, struct slice text)
{
    bool quote = false;

    for (size_t i = 0; i < text.n; i++)
        quote = quote || text.p[i] == ',' || text.p[i] == '"' || text.p[i] == '\r' || text.p[i] == '\n';
    if (quote)
        putc('"', out);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"')
            putc('"', out);
        putc(text.p[i], out);
    }
    if (quote)
        putc('"', out);
}

static void write_csv(const struct table *t, FILE *out)
{
    char buf[NUMBER_SIZE];

    for (size_t k = 0; k < t->count; k++) {
        fputs(k > 0 ? "," : "", out);
        table_csv_field(out, slice_cstr(t->columns[k].name));
    }
    fputs("\r\n", out);
    for (size_t i = 0; i < t->used; i++) {
        const struct cell *c = &t->cells[i];
        size_t k = i % t->count;
        int scale = kind_scale(t->columns[k].kind);
        fputs(k > 0 ? "," : "", out);
        if (!c->null && is_text(t->columns[k].kind)) {
            table_csv_field(out, slice_make(c->text, (size_t)c->v));
        } else if (!c->null) {
            table_decimal(buf, sizeof buf, c->v, scale, scale);
            fputs(buf, out);
        }
        fputs(k + 1 == t->count ? "\r\n" : "", out);
    }
}

static void json_name(const struct table_column *c, FILE *out)
{
    const char *unit = c->kind == TABLE_USD ? "_nano" : c->kind == TABLE_RATE ? "_pico" : "";
    int n = (int)strlen(c->name);

    if (unit[0] != '\0' && n > 4 && strcmp(c->name + n - 4, "_usd") == 0)
        n -= 4;
    fprintf(out, "\"%.*s%s\":", n, c->name, unit);
}

static int write_json(const struct table *t, const char *head, FILE *out)
{
    bool first = true;
    int64_t sum;

    fprintf(out, "{%s\"rows\":[", head);
    for (size_t i = 0; i < t->used; i++) {
        const struct cell *c = &t->cells[i];
        size_t k = i % t->count;
        fputs(k > 0 ? "," : i > 0 ? ",{" : "{", out);
        json_name(&t->columns[k], out);
        if (c->null)
            fputs("null", out);
        else if (is_text(t->columns[k].kind))
            log_text_json(out, slice_make(c->text, (size_t)c->v));
        else
            fprintf(out, "%" PRId64, c->v);
        fputs(k + 1 == t->count ? "}" : "", out);
    }
    fputs("]", out);
    for (size_t k = 0; k < t->count; k++) {
        if (!t->columns[k].total)
            continue;
        if (!column_sum(t, k, &sum))
            return -1;
        fputs(first ? ",\"total\":{" : ",", out);
        first = false;
        json_name(&t->columns[k], out);
        fprintf(out, "%" PRId64, sum);
    }
    fputs(first ? "}\n" : "}}\n", out);
    return 0;
}

int table_write(const struct table *t, enum table_format format, const char *head, FILE *out)
{
    int rc = 0;

    if (t->failed) {
        fprintf(stderr, "tollgatectl: out of memory\n");
        return -1;
    }
    if (format == FORMAT_CSV)
        write_csv(t, out);
    else if (format == FORMAT_JSON)
        rc = write_json(t, head, out);
    else
        rc = write_people(t, out);
    if (rc != 0)
        fprintf(stderr, "tollgatectl: a total does not fit, or memory is out; ask for a shorter period\n");
    else if (fflush(out) != 0 || ferror(out)) {
        fprintf(stderr, "tollgatectl: the result could not be written\n");
        rc = -1;
    }
    return rc;
}

bool table_format_from_word(const char *word, enum table_format *out)
{
    static const char *const words[] = { "table", "csv", "json" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i]) == 0) {
            *out = (enum table_format)i;
            return true;
        }
    return false;
}
