/* SPDX-License-Identifier: MIT
 *
 * json.c -- data files that are one JSON array of objects, or objects one
 * after the other. They are taken apart by counting brackets outside of
 * strings; what is in an object is for the engine to parse. So a file may be
 * larger than memory, and a damaged element costs itself alone.
 */
#include "input.h"

enum { BEFORE, FIRST, BETWEEN, SEQUENCE, DONE };

typedef struct {
    input *in;
    int state;
} reader;

static hone_status json_open(const hone_host *host, const char *path,
                             void **out, hone_err *err)
{
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
    *out = r;
    return HONE_OK;
}

static void json_close(void *self)
{
    reader *r = self;

    input_close(r->in);
    free(r);
}

static int skip_space(input *in)
{
    int c;

    while ((c = input_peek(in)) == ' ' || c == '\t' || c == '\r' || c == '\n')
        input_get(in);
    return c;
}

static hone_status begin(reader *r, hone_row *out, hone_err *err)
{
    int c = skip_space(r->in);

    if (c == '{') {
        r->state = SEQUENCE;
        return HONE_OK;
    }
    r->state = DONE;
    if (c == END_OF_FILE)
        return input_stop(r->in, out, err, "the file is empty; expected a "
                                           "JSON array of objects");
    if (c != '[')
        return input_stop(r->in, out, err, "expected a JSON array of objects, "
                                           "or objects");
    input_get(r->in);
    r->state = FIRST;
    return HONE_OK;
}

/* Behind the last element only white space may follow. */
static hone_status end_array(reader *r, hone_row *out, hone_err *err)
{
    r->state = DONE;
    input_get(r->in);
    if (skip_space(r->in) != END_OF_FILE || r->in->from.damage)
        return input_stop(r->in, out, err, "something follows the array");
    return HONE_END;
}

/* One value, up to the comma or bracket that ends it. */
static hone_status read_value(reader *r, hone_row *out, hone_err *err)
{
    input *in = r->in;
    int64_t depth = 0;
    int quoted = 0;

    input_begin_row(in);
    for (;;) {
        int c = input_peek(in);

        if (c == END_OF_FILE) {
            r->state = DONE;
            in->line = in->row_line;
            return input_stop(in, out, err, "the row that begins here does "
                                            "not end: a bracket or a quote "
                                            "is missing in it or behind it");
        }
        if (!quoted && !depth && (c == ',' || c == ']' || c == '}'))
            return input_end_row(in, out, err);
        row_byte(&in->row, input_get(in));
        if (quoted) {
            if (c == '\\' && input_peek(in) != END_OF_FILE)
                row_byte(&in->row, input_get(in));
            quoted = c != '"';
        } else if (c == '"') {
            quoted = 1;
        } else {
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            if (!depth && (c == '}' || c == ']'))
                return input_end_row(in, out, err);
        }
    }
}

/* The comma between two elements, up to the element behind it. */
static hone_status between(reader *r, hone_row *out, hone_err *err)
{
    int c = skip_space(r->in);

    if (c == ',') {
        input_get(r->in);
        skip_space(r->in);
        return HONE_OK;
    }
    r->state = DONE;
    return input_stop(r->in, out, err,
                      c == END_OF_FILE ? "the array does not end: ']' is "
                                         "missing"
                                       : "expected ',' or ']' behind a row");
}

/* The next of objects that only white space parts. */
static hone_status next_object(reader *r, hone_row *out, hone_err *err)
{
    int c = skip_space(r->in);

    if (c == '{')
        return read_value(r, out, err);
    r->state = DONE;
    if (c == END_OF_FILE && !r->in->from.damage)
        return HONE_END;
    return input_stop(r->in, out, err, "expected an object or the end of the "
                                       "file behind an object");
}

static hone_status json_next(void *self, hone_row *out, hone_err *err)
{
    reader *r = self;
    int c;

    if (r->state == BEFORE)
        hone_try(begin(r, out, err));
    if (r->state == DONE)
        return HONE_END;
    if (r->state == SEQUENCE)
        return next_object(r, out, err);
    c = skip_space(r->in);
    if (c == ']')
        return end_array(r, out, err);
    if (r->state == BETWEEN)
        hone_try(between(r, out, err));
    r->state = BETWEEN;
    c = input_peek(r->in);
    if (c == ',' || c == ']' || c == '}' || c == END_OF_FILE) {
        r->state = DONE;
        return input_stop(r->in, out, err, "expected a row");
    }
    return read_value(r, out, err);
}

static double json_share(const void *self)
{
    return input_share(((const reader *)self)->in);
}

static const char *const endings[] = { "json", "json.gz", "json.zst", NULL };
static const hone_format ops = { .size = sizeof ops, .endings = endings,
                                 .open = json_open, .next = json_next,
                                 .close = json_close,
                                 .share = json_share };

static const hone_component json = { .size = sizeof json,
                                     .kind = HONE_KIND_FORMAT,
                                     .name = "json",
                                     .help = "one JSON array of objects, or objects",
                                     .ops = &ops };

HONE_PLUGIN("json", "1.0", &json)
