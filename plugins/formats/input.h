/* SPDX-License-Identifier: MIT
 *
 * input.h -- what the text formats share: bytes of a file one by one with the
 * line they are in, and one row that grows up to its limit. Memory depends on
 * the longest row, not on the file.
 */
#ifndef HONE_FORMATS_INPUT_H
#define HONE_FORMATS_INPUT_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hone/plugin.h"

enum { INPUT_BYTES = 1 << 16, ROW_MOST = 64 << 20, END_OF_FILE = -1 };

typedef struct {
    char *path;
    int fd, failed; /* errno of a failed read */
    int64_t line;   /* of the next byte */
    size_t at, have;
    uint8_t buffer[INPUT_BYTES];
    /* the row */
    char *row;
    size_t bytes, cap;
    int too_long;
    int64_t number, row_line;
} input;

static inline hone_status input_open(const char *path, input **out,
                                     hone_err *err)
{
    input *in = calloc(1, sizeof *in);

    if (in)
        in->path = strdup(path);
    if (!in || !in->path) {
        free(in);
        return hone_fail(err, HONE_EIO, "%s: out of host memory", path);
    }
    in->line = 1;
    in->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0) {
        hone_fail(err, HONE_EINVAL, "%s: %s", path, strerror(errno));
        free(in->path);
        free(in);
        return HONE_EINVAL;
    }
    *out = in;
    return HONE_OK;
}

static inline void input_close(void *reader)
{
    input *in = reader;

    close(in->fd);
    free(in->path);
    free(in->row);
    free(in);
}

static inline void input_fill(input *in)
{
    ssize_t n;

    do
        n = read(in->fd, in->buffer, sizeof in->buffer);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        in->failed = errno;
    in->at = 0;
    in->have = n > 0 ? (size_t)n : 0;
}

/* The next byte, left where it is. */
static inline int input_peek(input *in)
{
    if (in->at == in->have)
        input_fill(in);
    return in->have ? in->buffer[in->at] : END_OF_FILE;
}

static inline int input_get(input *in)
{
    int c = input_peek(in);

    if (c != END_OF_FILE)
        in->at++;
    in->line += c == '\n';
    return c;
}

/* A byte order mark is no part of the text. */
static inline void input_skip_bom(input *in)
{
    if (input_peek(in) == 0xef && in->have - in->at >= 3 &&
        !memcmp(in->buffer + in->at, "\xef\xbb\xbf", 3))
        in->at += 3;
}

static inline void input_begin_row(input *in)
{
    in->bytes = 0;
    in->too_long = 0;
    in->number++;
    in->row_line = in->line;
}

/* A row beyond the limit is read to its end and not kept. */
static inline void input_keep(input *in, int c)
{
    if (in->bytes == in->cap) {
        size_t cap = in->cap ? 2 * in->cap : 4096;
        char *row = cap <= ROW_MOST ? realloc(in->row, cap) : NULL;

        if (!row) {
            in->too_long = 1;
            return;
        }
        in->row = row;
        in->cap = cap;
    }
    in->row[in->bytes++] = (char)c;
}

/* Hands the row out, or says why not. */
static inline hone_status input_end_row(input *in, hone_row *out,
                                        hone_err *err)
{
    out->json = in->row;
    out->bytes = in->bytes;
    out->number = in->number;
    out->line = in->row_line;
    if (!in->too_long)
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL,
                     "%s: row %lld (line %lld): longer than 64 MiB; shorten "
                     "it, or leave it out with broken = \"skip\"",
                     in->path, (long long)in->number, (long long)in->row_line);
}

/* Damage that nothing behind it can be read past: no row number. */
static inline hone_status input_stop(input *in, hone_row *out, hone_err *err,
                                     const char *what)
{
    out->number = 0;
    if (in->failed)
        return hone_fail(err, HONE_EIO, "%s: %s", in->path,
                         strerror(in->failed));
    return hone_fail(err, HONE_EINVAL, "%s:%lld: %s", in->path,
                     (long long)in->line, what);
}

#endif
