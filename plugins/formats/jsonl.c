/* SPDX-License-Identifier: MIT
 *
 * jsonl.c -- data files with one JSON object a line. Empty lines are no rows.
 */
#include "input.h"

static hone_status jsonl_open(const hone_host *host, const char *path,
                              void **out, hone_err *err)
{
    input *in = NULL;

    (void)host;
    hone_try(input_open(path, &in, err));
    *out = in;
    return HONE_OK;
}

static int is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What is left of the line, without its end. */
static void keep_line(input *in)
{
    while (input_peek(in) != END_OF_FILE) {
        const uint8_t *from = in->buffer + in->at;
        const uint8_t *end = memchr(from, '\n', in->have - in->at);
        size_t bytes = end ? (size_t)(end - from) : in->have - in->at;

        row_add(&in->row, from, bytes);
        in->at += bytes;
        if (end) {
            in->at++;
            in->line++;
            return;
        }
    }
}

static hone_status jsonl_next(void *self, hone_row *out, hone_err *err)
{
    input *in = self;
    int c;

    while (is_space(c = input_peek(in)))
        input_get(in);
    if (c == END_OF_FILE)
        return in->from.damage ? input_stop(in, out, err, "") : HONE_END;
    input_begin_row(in);
    keep_line(in);
    if (in->from.damage)
        return input_stop(in, out, err, "");
    return input_end_row(in, out, err);
}

static const char *const endings[] = { "jsonl",     "ndjson",    "jsonl.gz",
                                       "jsonl.zst", "ndjson.gz", "ndjson.zst",
                                       NULL };
static const hone_format ops = { .size = sizeof ops, .endings = endings,
                                 .open = jsonl_open, .next = jsonl_next,
                                 .close = input_close,
                                 .share = input_share };

static const hone_component jsonl = { .size = sizeof jsonl,
                                      .kind = HONE_KIND_FORMAT,
                                      .name = "jsonl",
                                      .help = "one JSON object a line",
                                      .ops = &ops };

HONE_PLUGIN("jsonl", "1.0", &jsonl)
