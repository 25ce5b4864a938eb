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
    input_skip_bom(in);
    *out = in;
    return HONE_OK;
}

static int is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static hone_status jsonl_next(void *self, hone_row *out, hone_err *err)
{
    input *in = self;
    int c;

    while (is_space(c = input_peek(in)))
        input_get(in);
    if (c == END_OF_FILE)
        return in->failed ? input_stop(in, out, err, "") : HONE_END;
    input_begin_row(in);
    while ((c = input_get(in)) != '\n' && c != END_OF_FILE)
        input_keep(in, c);
    if (in->failed)
        return input_stop(in, out, err, "");
    return input_end_row(in, out, err);
}

static const char *const endings[] = { "jsonl", "ndjson", NULL };
static const hone_format ops = { sizeof ops, endings, jsonl_open, jsonl_next,
                                 input_close };

static const hone_component jsonl = { .size = sizeof jsonl,
                                      .kind = HONE_KIND_FORMAT,
                                      .name = "jsonl",
                                      .help = "one JSON object a line",
                                      .ops = &ops };

HONE_PLUGIN("jsonl", "1.0", &jsonl)
