/* SPDX-License-Identifier: MIT
 *
 * stream.h -- the bytes of a file, unpacked on the way if it is gzip or
 * Zstandard: its first bytes say so, not its name. Memory does not depend on
 * the file. Damage is a text in `damage`; a failed read is one as well.
 */
#ifndef HONE_FORMATS_STREAM_H
#define HONE_FORMATS_STREAM_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include "hone/plugin.h"

enum { STREAM_BYTES = 1 << 16 };
enum { STREAM_PLAIN = 1, STREAM_GZIP, STREAM_ZSTD };

typedef struct {
    int fd, kind, ended; /* the file has no more bytes */
    int whole;           /* a member or frame has ended, none has begun */
    hone_status status;  /* of the damage: HONE_EINVAL, or HONE_EIO */
    const char *damage;  /* NULL: none yet */
    z_stream gzip;
    ZSTD_DStream *zstd;
    size_t at, have;
    uint8_t in[STREAM_BYTES];
} stream;

static inline size_t stream_fail(stream *s, hone_status status,
                                 const char *what)
{
    s->status = status;
    s->damage = what;
    return 0;
}

static inline size_t stream_raw(stream *s, void *to, size_t bytes)
{
    ssize_t n;

    do
        n = read(s->fd, to, bytes);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return stream_fail(s, HONE_EIO, strerror(errno));
    return (size_t)n;
}

/* Brings at least one packed byte, or sets `ended`. */
static inline void stream_fill(stream *s)
{
    if (s->at < s->have || s->ended)
        return;
    s->at = 0;
    s->have = stream_raw(s, s->in, sizeof s->in);
    s->ended = !s->have;
}

/* Behind a gzip member: another one, zeros as tape drives leave them, or the
 * end. */
static inline int stream_next_member(stream *s)
{
    while (stream_fill(s), !s->ended && !s->in[s->at])
        s->at++;
    if (s->ended)
        return 0;
    if (s->in[s->at] != 0x1f)
        stream_fail(s, HONE_EINVAL, "something follows the gzip data");
    inflateReset(&s->gzip);
    s->whole = 0;
    return !s->damage;
}

static inline size_t stream_gunzip(stream *s, void *to, size_t bytes)
{
    s->gzip.next_out = to;
    s->gzip.avail_out = (uInt)bytes;
    while (s->gzip.avail_out == bytes) {
        int code;

        if (s->whole && !stream_next_member(s))
            break;
        stream_fill(s);
        if (s->ended)
            return stream_fail(s, HONE_EINVAL, "the gzip data is cut short");
        s->gzip.next_in = s->in + s->at;
        s->gzip.avail_in = (uInt)(s->have - s->at);
        code = inflate(&s->gzip, Z_NO_FLUSH);
        s->at = s->have - s->gzip.avail_in;
        s->whole = code == Z_STREAM_END;
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return stream_fail(s, HONE_EINVAL, "the gzip data is damaged");
    }
    return bytes - s->gzip.avail_out;
}

static inline size_t stream_unzstd(stream *s, void *to, size_t bytes)
{
    ZSTD_outBuffer out = { to, bytes, 0 };

    while (!out.pos) {
        ZSTD_inBuffer in;
        size_t left;

        stream_fill(s);
        if (s->ended && s->whole)
            break;
        in = (ZSTD_inBuffer){ s->in, s->have, s->at };
        left = ZSTD_decompressStream(s->zstd, &out, &in);
        s->at = in.pos;
        if (ZSTD_isError(left))
            return stream_fail(s, HONE_EINVAL, "the Zstandard data is "
                               "damaged, or needs a window above 128 MiB");
        if (s->ended && !out.pos)
            return stream_fail(s, HONE_EINVAL, "the Zstandard data is cut "
                               "short");
        s->whole = !left;
    }
    return out.pos;
}

/* The next bytes, at most BYTES; 0: the end, or `damage`. */
static inline size_t stream_read(stream *s, void *to, size_t bytes)
{
    if (s->damage)
        return 0;
    if (s->kind == STREAM_GZIP)
        return stream_gunzip(s, to, bytes);
    if (s->kind == STREAM_ZSTD)
        return stream_unzstd(s, to, bytes);
    if (s->at == s->have)
        return stream_raw(s, to, bytes);
    if (bytes > s->have - s->at)
        bytes = s->have - s->at;
    memcpy(to, s->in + s->at, bytes);
    s->at += bytes;
    return bytes;
}

static inline int stream_kind(const uint8_t *p, size_t bytes)
{
    if (bytes >= 2 && p[0] == 0x1f && p[1] == 0x8b)
        return STREAM_GZIP;
    if (bytes >= 4 && (!memcmp(p, "\x28\xb5\x2f\xfd", 4) ||
                       ((p[0] & 0xf0) == 0x50 && !memcmp(p + 1, "\x2a\x4d\x18",
                                                         3))))
        return STREAM_ZSTD; /* or a skippable frame before the first */
    return STREAM_PLAIN;
}

/* How much of the file has been unpacked, 0 to 1. */
static inline double stream_share(const stream *s)
{
    off_t at = lseek(s->fd, 0, SEEK_CUR), size;
    struct stat st;

    size = fstat(s->fd, &st) ? 0 : st.st_size;
    return at < 0 || !size ? 0
                           : (double)(at - (off_t)(s->have - s->at)) /
                                 (double)size;
}

static inline void stream_close(stream *s)
{
    if (s->kind == STREAM_GZIP)
        inflateEnd(&s->gzip);
    ZSTD_freeDStream(s->zstd);
    close(s->fd);
}

/* S is zeroed. */
static inline hone_status stream_open(stream *s, const char *path,
                                      hone_err *err)
{
    int ready = 1;

    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return hone_fail(err, HONE_EINVAL, "%s: %s", path, strerror(errno));
    stream_fill(s);
    s->kind = stream_kind(s->in, s->have);
    if (s->kind == STREAM_GZIP)
        ready = inflateInit2(&s->gzip, 15 + 16) == Z_OK;
    if (s->kind == STREAM_ZSTD)
        ready = (s->zstd = ZSTD_createDStream()) != NULL;
    if (ready)
        return HONE_OK;
    s->kind = STREAM_PLAIN;
    stream_close(s);
    return hone_fail(err, HONE_EIO, "%s: out of host memory", path);
}

#endif
