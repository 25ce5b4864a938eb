/* SPDX-License-Identifier: MIT
 *
 * spool.c -- see spool.h.
 */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

hone_status hone_spool_put_at(const hone_spool *s, const void *data,
                              uint64_t bytes, uint64_t at, hone_err *err)
{
    const uint8_t *from = data;

    while (bytes > 0) {
        ssize_t n = pwrite(s->fd, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hone_fail(err, HONE_EIO, "%s: %s", s->path,
                             strerror(n < 0 ? errno : ENOSPC));
        from += n;
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return HONE_OK;
}

hone_status hone_spool_flush(hone_spool *s, hone_err *err)
{
    size_t n = s->have;

    s->have = 0;
    hone_try(hone_spool_put_at(s, s->buffer, n, s->bytes, err));
    s->bytes += n;
    return HONE_OK;
}

hone_status hone_spool_put(hone_spool *s, const void *data, uint64_t bytes,
                           hone_err *err)
{
    if (s->have + bytes > HONE_SPOOL_BUFFER)
        hone_try(hone_spool_flush(s, err));
    if (bytes > HONE_SPOOL_BUFFER) {
        hone_try(hone_spool_put_at(s, data, bytes, s->bytes, err));
        s->bytes += bytes;
        return HONE_OK;
    }
    if (bytes)
        memcpy(s->buffer + s->have, data, bytes);
    s->have += bytes;
    return HONE_OK;
}

uint64_t hone_spool_place(const hone_spool *s)
{
    return s->bytes + s->have;
}

hone_status hone_spool_open(hone_spool *s, const char *path, uint64_t keep,
                            hone_err *err)
{
    s->path = path;
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd < 0 || lseek(s->fd, 0, SEEK_END) < (off_t)keep ||
        ftruncate(s->fd, (off_t)keep))
        return hone_fail(err, HONE_EIO, "%s: %s", path,
                         s->fd < 0 ? strerror(errno) : "it is cut short");
    s->bytes = keep;
    return HONE_OK;
}

hone_status hone_spool_read(const hone_spool *s, void *to, uint64_t bytes,
                            uint64_t at, hone_err *err)
{
    uint8_t *into = to;

    while (bytes > 0) {
        ssize_t n = pread(s->fd, into, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hone_fail(err, HONE_EIO, "%s: %s", s->path,
                             n < 0 ? strerror(errno) : "it is cut short");
        into += n;
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return HONE_OK;
}

hone_status hone_spool_sync(hone_spool *s, hone_err *err)
{
    hone_try(hone_spool_flush(s, err));
    if (fdatasync(s->fd))
        return hone_fail(err, HONE_EIO, "%s: %s", s->path, strerror(errno));
    return HONE_OK;
}
