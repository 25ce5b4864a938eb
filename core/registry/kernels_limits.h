/* SPDX-License-Identifier: MIT
 *
 * kernels_limits.h -- what a device can do, measured: the rate of a large copy
 * and of a large product. Everything else is held to these two.
 */
#ifndef HONE_KERNELS_LIMITS_H
#define HONE_KERNELS_LIMITS_H

#include "probe.h"

/* Bytes/s, read and written, both counted, of a large copy on the device; and
 * FLOP/s of the largest `linear` that there is memory for in the bench's type
 * of numbers, 0 without a kernel for it. DEVICE: its name. Takes up to some
 * hundred MiB of it for a tenth of a second. */
hone_status hone_limits_copy(const hone_bench *, double *bytes_per_s,
                             hone_err *);
hone_status hone_limits_flops(const hone_bench *, const char *device,
                              double *flops_per_s, hone_err *);
/* A product of squares. LEAST_S: see probe.h. */
hone_status hone_limits_product(const hone_bench *, const char *device,
                                int64_t side, double least_s, hone_probed *,
                                hone_err *);

#endif
