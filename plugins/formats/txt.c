/* SPDX-License-Identifier: MIT
 *
 * txt.c -- plain text: a document a line, a paragraph (up to an empty line) or
 * a whole file, as the recipe's `document` says. A row is { "text": ... }.
 * Empty lines are no documents.
 */
#include "input.h"

enum { LINE, PARAGRAPH, WHOLE };

typedef struct {
    int document; /* index into its choices */
} txt_config;

typedef struct {
    input *in;
    int document;
} reader;

static hone_status txt_open_with(const hone_host *host, const char *path,
                                 const void *config, void **out, hone_err *err)
{
    const txt_config *c = config;
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
    r->document = c ? c->document : LINE;
    *out = r;
    return HONE_OK;
}

static hone_status txt_open(const hone_host *host, const char *path, void **out,
                            hone_err *err)
{
    return txt_open_with(host, path, NULL, out, err);
}

static void txt_close(void *self)
{
    reader *r = self;

    input_close(r->in);
    free(r);
}

/* A line without its end, \n or \r\n; 0: it is empty. */
static int keep_line(input *in)
{
    int c, any = 0;

    while ((c = input_get(in)) != '\n' && c != END_OF_FILE) {
        if (c == '\r' && input_peek(in) == '\n')
            continue;
        any = 1;
        row_escaped(&in->row, c);
    }
    return any;
}

/* Lines up to an empty one, with single ends of lines between them. */
static int keep_paragraph(input *in)
{
    size_t bytes;

    if (!keep_line(in))
        return 0;
    do {
        bytes = in->row.bytes;
        row_escaped(&in->row, '\n');
    } while (keep_line(in));
    in->row.bytes = bytes;
    return 1;
}

static int keep_all(input *in)
{
    while (input_peek(in) != END_OF_FILE)
        row_escaped(&in->row, input_get(in));
    return 1;
}

static hone_status txt_next(void *self, hone_row *out, hone_err *err)
{
    static int (*const keep[])(input *) = { [LINE] = keep_line,
                                            [PARAGRAPH] = keep_paragraph,
                                            [WHOLE] = keep_all };
    reader *r = self;
    input *in = r->in;
    int any = 0;

    while (!any && input_peek(in) != END_OF_FILE) {
        input_begin_row(in);
        row_words(&in->row, "{\"text\":\"");
        any = keep[r->document](in);
        in->number -= !any;
    }
    if (in->from.damage)
        return input_stop(in, out, err, "");
    if (!any)
        return HONE_END;
    row_words(&in->row, "\"}");
    return input_end_row(in, out, err);
}

static const char *const documents[] = { "line", "paragraph", "file", NULL };
static const hone_option options[] = {
    HONE_OPT_ENUM(txt_config, document, "line", documents,
                  "what a row of a txt is: a line, a paragraph, or the file"),
    HONE_OPT_END
};

static double txt_share(const void *self)
{
    return input_share(((const reader *)self)->in);
}

static const char *const endings[] = { "txt", "text", "txt.gz", "txt.zst",
                                       NULL };
static const hone_format ops = { .size = sizeof ops, .endings = endings,
                                 .open = txt_open, .next = txt_next,
                                 .close = txt_close,
                                 .open_with = txt_open_with,
                                 .share = txt_share };

static const hone_component txt = { .size = sizeof txt,
                                    .kind = HONE_KIND_FORMAT,
                                    .name = "txt",
                                    .help = "plain text, by lines or whole",
                                    .options = options,
                                    .config_size = sizeof(txt_config),
                                    .ops = &ops };

HONE_PLUGIN("txt", "1.0", &txt)
