/* SPDX-License-Identifier: MIT
 *
 * kernels_check.h -- holds the kernels of a pack to the reference of their
 * ops, and times them. Behind `hone kernels` and tests/test_cpu.c.
 */
#ifndef HONE_KERNELS_CHECK_H
#define HONE_KERNELS_CHECK_H

#include "arena.h"
#include "hone/plugin.h"

/* Where kernels run: a device that is open. */
typedef struct hone_bench {
    const hone_device *device;
    const hone_device_info *info; /* NULL: unknown */
    void *dev;
    int threads; /* that run() may use */
    hone_storage compute; /* HONE_BF16: activations and weights in bf16;
                             HONE_FP8: what can be in fp8; HONE_NF4: what reads
                             nf4 */
    int scale; /* of the rows in timed calls; 0: 1 */
    int can_capture;
    void *scratch; /* device memory that probe.c takes, at most so much of it;
                      NULL: it reserves its own */
    int64_t scratch_bytes;
} hone_bench;

typedef struct hone_verdict {
    int cases;    /* that the kernel covers */
    double error; /* the largest difference, as a share of its bound */
    double worst; /* the largest difference / largest number of the output */
    double bound;
    char shapes[160]; /* of the inputs of the first that is wrong */
} hone_verdict;

typedef struct hone_timing {
    double seconds, bytes, flops; /* of one run */
} hone_timing;

#define HONE_CASE_OPERANDS 32

/* One call of an op with shapes and attributes drawn. */
typedef struct hone_case {
    const hone_op *op;
    hone_call call;
    hone_type type[HONE_CASE_OPERANDS];
    uint8_t mode[HONE_CASE_OPERANDS];
    int64_t limit; /* integers that stand for tokens and rows are below it */
    int copies;    /* the last outputs: of these once more, see HONE_TWICE */
    uint32_t copied[HONE_CASE_OPERANDS];
} hone_case;

/* BIG: the shapes of a model of 135 million parameters, for timing, with BIG
 * times 1,024 rows; 0: small odd ones. COMPUTE: as of hone_bench.
 * HONE_ENOSUP: no shapes are known for this op, or none that differ by it. */
hone_status hone_case_draw(hone_case *, const hone_component *op, uint64_t seed,
                           int big, hone_storage compute, hone_arena *,
                           hone_err *);

/* Whether calls of the op can be drawn with operands in these codes: weights,
 * what is converted, or written twice. */
int hone_case_has(const hone_component *op, hone_storage codes);

/* CASES random calls against the reference in double. An error: the kernel
 * wrote where it must not, gave other bits the second time, or refused after
 * prepare() had accepted. A difference beyond the bound is error > 1. */
hone_status hone_kernel_check(const hone_bench *, const hone_kernel *,
                              const hone_component *op, int cases,
                              hone_verdict *, hone_err *);

/* The median of many runs over several sets of operands, more than caches
 * hold; where the device can, they are replayed, so that no launch is waited
 * for. */
hone_status hone_kernel_time(const hone_bench *, const hone_kernel *,
                             const hone_component *op, hone_timing *,
                             hone_err *);

#endif
