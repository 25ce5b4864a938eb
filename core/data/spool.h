/* SPDX-License-Identifier: MIT
 *
 * spool.h -- a file that grows at its end, written through a buffer, read back
 * and cut to what an earlier process had on the disk.
 */
#ifndef HONE_SPOOL_H
#define HONE_SPOOL_H

#include "hone/plugin.h"

enum { HONE_SPOOL_BUFFER = 1 << 16 };

typedef struct hone_spool {
    const char *path;
    int fd; /* -1: not open; the owner closes it */
    uint64_t bytes; /* in the file */
    size_t have;    /* in the buffer */
    uint8_t buffer[HONE_SPOOL_BUFFER];
} hone_spool;

/* KEEP: bytes of an earlier writer that stay; there must be as many. */
hone_status hone_spool_open(hone_spool *, const char *path, uint64_t keep,
                            hone_err *);
hone_status hone_spool_put(hone_spool *, const void *, uint64_t bytes,
                           hone_err *);
/* Where the next byte goes. */
uint64_t hone_spool_place(const hone_spool *);
/* Empties the buffer into the file; sync() waits for the disk, too. */
hone_status hone_spool_flush(hone_spool *, hone_err *);
hone_status hone_spool_sync(hone_spool *, hone_err *);
/* Past the buffer: bytes of the file are written over, or read. */
hone_status hone_spool_put_at(const hone_spool *, const void *, uint64_t bytes,
                              uint64_t at, hone_err *);
hone_status hone_spool_read(const hone_spool *, void *, uint64_t bytes,
                            uint64_t at, hone_err *);

#endif
