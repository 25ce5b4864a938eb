/* SPDX-License-Identifier: MIT
 *
 * csv.c -- data files with a line of names and one record a line, as RFC 4180
 * has them: quotes around what holds a separator, a quote (doubled) or the end
 * of a line. The separator is found out from the names: of comma, semicolon
 * and tab the one that stands there most often. Every value is a string.
 */
#include "input.h"

enum { MOST_COLUMNS = 4096 };

typedef struct {
    int separator; /* index into its choices; 0: found out */
} csv_config;

typedef struct {
    input *in;
    int separator;
    int columns;
    row_text names; /* `"name":` end to end */
    size_t name_at[MOST_COLUMNS + 1];
    int ended; /* damage that nothing can be read past was said */
} reader;

/* Ends of a field. */
enum { FIELD, RECORD, TORN, LOOSE };

static int is_end(int c)
{
    return c == '\n' || c == '\r' || c == END_OF_FILE;
}

/* Past the end of a line: \n, \r\n or \r. */
static void skip_line_end(input *in)
{
    int c = input_get(in);

    if (c == '\r' && input_peek(in) == '\n')
        input_get(in);
    else if (c == '\r')
        in->line++;
}

/* A quoted field from its first quote on; its text goes to T. */
static int read_quoted(reader *r, row_text *t)
{
    input *in = r->in;
    int c;

    input_get(in);
    for (;;) {
        c = input_get(in);
        if (c == END_OF_FILE)
            return TORN;
        if (c != '"') {
            row_escaped(t, c);
        } else if (input_peek(in) == '"') {
            input_get(in);
            row_escaped(t, '"');
        } else {
            break;
        }
    }
    c = input_peek(in);
    if (c == r->separator) {
        input_get(in);
        return FIELD;
    }
    return is_end(c) ? RECORD : LOOSE;
}

/* The next field as a JSON string at the end of T. */
static int read_field(reader *r, row_text *t)
{
    input *in = r->in;
    int c, end = RECORD;

    row_byte(t, '"');
    if (input_peek(in) == '"') {
        end = read_quoted(r, t);
    } else {
        while (!is_end(c = input_peek(in)) && c != r->separator)
            row_escaped(t, input_get(in));
        if (c == r->separator) {
            input_get(in);
            end = FIELD;
        }
    }
    row_byte(t, '"');
    if (end == RECORD && !in->from.damage)
        skip_line_end(in);
    return end;
}

/* ---------------------------------------------------------------- the names */

/* The bytes that are looked at, the first line at most, as they lie in the
 * buffer: a file whose names are longer has to say its separator. */
static int find_separator(input *in)
{
    static const char known[] = { ',', ';', '\t' };
    int counts[3] = { 0, 0, 0 }, quoted = 0, best = 0;

    for (size_t i = in->at; i < in->have; i++) {
        int c = in->buffer[i];

        quoted ^= c == '"';
        if (!quoted && is_end(c))
            break;
        for (int k = 0; k < 3; k++)
            counts[k] += !quoted && c == known[k];
    }
    for (int k = 1; k < 3; k++)
        if (counts[k] > counts[best])
            best = k;
    return known[best];
}

static hone_status bad_names(reader *r, hone_err *err, const char *what)
{
    hone_row row;

    return input_stop(r->in, &row, err, what);
}

static int is_twice(const reader *r, int column)
{
    size_t from = r->name_at[column], n = r->names.bytes - from;

    for (int i = 0; i < column; i++)
        if (r->name_at[i + 1] - r->name_at[i] == n &&
            !memcmp(r->names.data + r->name_at[i], r->names.data + from, n))
            return 1;
    return 0;
}

static hone_status read_names(reader *r, hone_err *err)
{
    int end = FIELD;

    if (input_peek(r->in) == END_OF_FILE)
        return bad_names(r, err, "the file is empty; its first line must be "
                                 "the names of the columns");
    while (end == FIELD) {
        if (r->columns == MOST_COLUMNS)
            return bad_names(r, err, "more than 4096 columns");
        end = read_field(r, &r->names);
        row_byte(&r->names, ':');
        if (end == TORN || end == LOOSE || r->in->from.damage)
            return bad_names(r, err, "the names of the columns end in a "
                                     "quote that is not closed, or closed too "
                                     "early");
        if (is_twice(r, r->columns))
            return bad_names(r, err, "two columns have the same name; rename "
                                     "one of them");
        r->name_at[++r->columns] = r->names.bytes;
    }
    return r->names.too_long ? bad_names(r, err, "the names of the columns "
                                                 "are longer than 64 MiB")
                             : HONE_OK;
}

/* --------------------------------------------------------------- the reader */

static void csv_close(void *self)
{
    reader *r = self;

    input_close(r->in);
    free(r->names.data);
    free(r);
}

static int ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);

    return n >= m && !strcmp(path + n - m, ending);
}

static hone_status csv_open_with(const hone_host *host, const char *path,
                                 const void *config, void **out, hone_err *err)
{
    static const int separators[] = { 0, ',', ';', '\t', '|' };
    const csv_config *c = config;
    reader *r = calloc(1, sizeof *r);
    hone_status status;

    (void)host;
    if (!r)
        return hone_fail(err, HONE_EIO, "%s: out of host memory", path);
    status = input_open(path, &r->in, err);
    if (status != HONE_OK) {
        free(r);
        return status;
    }
    r->separator = c ? separators[c->separator] : 0;
    if (!r->separator)
        r->separator = ends_in(path, ".tsv") || ends_in(path, ".tsv.gz") ||
                               ends_in(path, ".tsv.zst")
                           ? '\t' : find_separator(r->in);
    status = read_names(r, err);
    if (status == HONE_OK)
        *out = r;
    else
        csv_close(r);
    return status;
}

static hone_status csv_open(const hone_host *host, const char *path, void **out,
                            hone_err *err)
{
    return csv_open_with(host, path, NULL, out, err);
}

/* Up to the end of the line, where the next record is looked for. */
static void skip_line(input *in)
{
    while (!is_end(input_peek(in)))
        input_get(in);
    skip_line_end(in);
}

/* A record to its end. Its fields beyond the names are counted only. */
static int read_record(reader *r, int *fields)
{
    static row_text none = { NULL, 0, 0, 1 };
    row_text *t = &r->in->row;
    int end = FIELD;

    row_byte(t, '{');
    for (*fields = 0; end == FIELD; ++*fields) {
        int i = *fields;

        if (i && i < r->columns)
            row_byte(t, ',');
        if (i < r->columns)
            row_add(t, r->names.data + r->name_at[i],
                    r->name_at[i + 1] - r->name_at[i]);
        end = read_field(r, i < r->columns ? t : &none);
    }
    row_byte(t, '}');
    return end;
}

static hone_status csv_next(void *self, hone_row *out, hone_err *err)
{
    reader *r = self;
    input *in = r->in;
    int end, fields;
    char what[128];

    while (input_peek(in) == '\n' || input_peek(in) == '\r')
        skip_line_end(in); /* an empty line is no record */
    if (r->ended || (input_peek(in) == END_OF_FILE && !in->from.damage))
        return HONE_END;
    input_begin_row(in);
    end = read_record(r, &fields);
    if (in->from.damage || end == TORN) {
        r->ended = 1;
        in->line = in->row_line;
        return input_stop(in, out, err, "the row that begins here does not "
                                        "end: a quote is missing in it");
    }
    if (end == LOOSE) {
        skip_line(in);
        snprintf(what, sizeof what, "text behind the closing quote of field "
                 "%d; a quote inside is written twice", fields);
        return input_bad_row(in, out, err, what);
    }
    if (fields != r->columns) {
        snprintf(what, sizeof what, "%d fields, and the first line names %d",
                 fields, r->columns);
        return input_bad_row(in, out, err, what);
    }
    return input_end_row(in, out, err);
}

static const char *const separators[] = { "auto",      "comma", "semicolon",
                                          "tab",       "bar",   NULL };
static const hone_option options[] = {
    HONE_OPT_ENUM(csv_config, separator, "auto", separators,
                  "between the fields of a csv; auto: as its first line has "
                  "it"),
    HONE_OPT_END
};

static double csv_share(const void *self)
{
    return input_share(((const reader *)self)->in);
}

static const char *const endings[] = { "csv",    "tsv",     "csv.gz", "csv.zst",
                                       "tsv.gz", "tsv.zst", NULL };
static const hone_format ops = { .size = sizeof ops, .endings = endings,
                                 .open = csv_open, .next = csv_next,
                                 .close = csv_close,
                                 .open_with = csv_open_with,
                                 .share = csv_share };

static const hone_component csv = { .size = sizeof csv,
                                    .kind = HONE_KIND_FORMAT,
                                    .name = "csv",
                                    .help = "a line of names, a record a line",
                                    .options = options,
                                    .config_size = sizeof(csv_config),
                                    .ops = &ops };

HONE_PLUGIN("csv", "1.0", &csv)
