/* SPDX-License-Identifier: MIT
 *
 * kernels_limits.h -- what a device can do, measured: the rate of a large copy
 * and of a large product. Everything else is held to these two.
 */
#ifndef HONE_KERNELS_LIMITS_H
#define HONE_KERNELS_LIMITS_H

#include "kernels_check.h"
#include "probe.h"

typedef struct hone_limits {
    double bytes_per_s; /* read and written, both counted */
    double flops_per_s; /* of `linear` in the bench's type of numbers */
} hone_limits;

/* DEVICE: its name. Takes up to some hundred MiB of it for a tenth of a
 * second. Without a kernel for the product flops_per_s is 0. */
hone_status hone_limits_measure(const hone_bench *, const char *device,
                                hone_limits *, hone_err *);

/* The two by themselves: a large copy on the device; the largest product that
 * there is memory for. */
hone_status hone_limits_copy(const hone_bench *, double *bytes_per_s,
                             hone_err *);
hone_status hone_limits_flops(const hone_bench *, const char *device,
                              double *flops_per_s, hone_err *);
/* A product of squares. LEAST_S: see probe.h. */
hone_status hone_limits_product(const hone_bench *, const char *device,
                                int64_t side, double least_s, hone_probed *,
                                hone_err *);

/* The share of the limit that work in SECONDS comes to: the larger of the two
 * shares. */
double hone_limits_share(const hone_limits *, double bytes, double flops,
                         double seconds);

#endif
