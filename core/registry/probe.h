/* SPDX-License-Identifier: MIT
 *
 * probe.h -- how long one call of an op takes on a device, by the first pack
 * that covers it: what limits and cards are measured with. Operands are random
 * numbers, as a product of zeros runs faster than any other.
 */
#ifndef HONE_PROBE_H
#define HONE_PROBE_H

#include "hone/plugin.h"

/* Where calls run: a device that is open. */
typedef struct hone_bench {
    const hone_device *device;
    const hone_device_info *info; /* NULL: unknown */
    void *dev;
    int threads; /* that run() may use */
    hone_storage compute;
    int can_capture;
    void *scratch; /* device memory to take, at most so much of it; NULL: it
                      reserves its own */
    int64_t scratch_bytes;
} hone_bench;

enum { HONE_PROBE_IN = 8, HONE_PROBE_OUT = 4 };

/* Outputs are what the op's shape rule says. An i32 input is the list of
 * documents: one, of all rows of the first. */
typedef struct hone_probe {
    const char *op;
    const hone_attr *attrs;
    uint32_t nattrs, nin;
    hone_type in[HONE_PROBE_IN];
    double least_s; /* how long it goes on at least, 0: some hundredths; cards
                       run slower when they are warm */
} hone_probe;

typedef struct hone_probed {
    double seconds, flops, bytes; /* of one run */
} hone_probed;

/* DEVICE: its name; the bench's compute is that of the call. Takes the memory
 * for the operands, and gives it back; the bench's, where it has some:
 * HONE_ENOMEM if that is too little. HONE_ENOSUP: no pack covers the call as it
 * is. */
hone_status hone_probe_run(const hone_bench *, const char *device,
                           const hone_probe *, hone_probed *, hone_err *);

/* Seconds of one WORK(self, stream), repeated for LEAST_S; replayed, where the
 * device can. */
hone_status hone_probe_time(const hone_bench *, hone_stream,
                            void (*work)(void *self, hone_stream), void *self,
                            double least_s, double *seconds, hone_err *);

/* Random numbers of the storage into device memory. */
hone_status hone_probe_fill(const hone_bench *, hone_stream, hone_storage,
                            void *device, int64_t bytes, hone_err *);

#endif
