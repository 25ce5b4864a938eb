/* SPDX-License-Identifier: MIT
 *
 * input.h -- what the text formats share: the bytes of a file, unpacked, one
 * by one with the line they are in, and one row that grows up to its limit.
 * Memory depends on the longest row, not on the file.
 */
#ifndef HONE_FORMATS_INPUT_H
#define HONE_FORMATS_INPUT_H

#include "row_text.h"
#include "stream.h"

enum { INPUT_BYTES = 1 << 16, END_OF_FILE = -1 };

/* What is read of a row to find its end: behind it the reader gives up, so
 * that a small packed file cannot keep it busy for days. */
#define ROW_LOOKED_FOR ((int64_t)1 << 30)

typedef struct {
    char *path;
    stream from;
    int64_t line; /* of the next byte */
    size_t at, have;
    uint8_t buffer[INPUT_BYTES];
    row_text row;
    int64_t read, row_read; /* bytes before the buffer; before the row */
    int64_t number, row_line;
} input;

static inline void input_close(void *reader)
{
    input *in = reader;

    stream_close(&in->from);
    free(in->path);
    free(in->row.data);
    free(in);
}

static inline double input_share(const void *reader)
{
    return stream_share(&((const input *)reader)->from);
}

static inline void input_fill(input *in)
{
    in->read += (int64_t)in->have;
    in->at = 0;
    in->have = stream_read(&in->from, in->buffer, sizeof in->buffer);
    if (in->read - in->row_read > ROW_LOOKED_FOR && !in->from.damage) {
        stream_fail(&in->from, HONE_EINVAL, "no end of the row within 1 GiB");
        in->have = 0;
    }
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
static inline hone_status input_begin(input *in, hone_err *err)
{
    const uint8_t *at = in->buffer;
    int c = input_peek(in);

    if (in->have >= 3 && !memcmp(at, "\xef\xbb\xbf", 3))
        in->at = 3;
    if (in->have >= 2 && (c == 0xff || c == 0xfe) && at[0] + at[1] == 0x1fd)
        return hone_fail(err, HONE_EINVAL, "%s: the text is UTF-16; save it "
                         "as UTF-8", in->path);
    return HONE_OK;
}

static inline hone_status input_open(const char *path, input **out,
                                     hone_err *err)
{
    input *in = calloc(1, sizeof *in);
    hone_status status;

    if (in)
        in->path = strdup(path);
    if (!in || !in->path) {
        free(in);
        return hone_fail(err, HONE_EIO, "%s: out of host memory", path);
    }
    in->line = 1;
    status = stream_open(&in->from, path, err);
    if (status != HONE_OK) {
        free(in->path);
        free(in);
        return status;
    }
    status = input_begin(in, err);
    if (status != HONE_OK)
        input_close(in);
    *out = in;
    return status;
}

static inline void input_begin_row(input *in)
{
    row_begin(&in->row);
    in->row_read = in->read;
    in->number++;
    in->row_line = in->line;
}

/* Hands the row out, or says why not. */
static inline hone_status input_end_row(input *in, hone_row *out,
                                        hone_err *err)
{
    out->json = in->row.data;
    out->bytes = in->row.bytes;
    out->number = in->number;
    out->line = in->row_line;
    if (!in->row.too_long)
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL,
                     "%s: row %lld (line %lld): longer than 64 MiB; shorten "
                     "it, or leave it out with broken = \"skip\"",
                     in->path, (long long)in->number, (long long)in->row_line);
}

/* The row is damaged; behind it another one can be read. */
static inline hone_status input_bad_row(input *in, hone_row *out,
                                        hone_err *err, const char *what)
{
    out->number = in->number;
    out->line = in->row_line;
    return hone_fail(err, HONE_EINVAL, "%s: row %lld (line %lld): %s",
                     in->path, (long long)in->number, (long long)in->row_line,
                     what);
}

/* Damage that nothing behind it can be read past: no row number. */
static inline hone_status input_stop(input *in, hone_row *out, hone_err *err,
                                     const char *what)
{
    out->number = 0;
    if (in->from.damage && in->from.status == HONE_EIO)
        return hone_fail(err, HONE_EIO, "%s: %s", in->path, in->from.damage);
    return hone_fail(err, HONE_EINVAL, "%s:%lld: %s", in->path,
                     (long long)in->line,
                     in->from.damage ? in->from.damage : what);
}

#endif
