/* SPDX-License-Identifier: MIT
 *
 * kernels.h -- what the files of `hone kernels` share: calls of ops with shapes
 * drawn (case.c), such a call with its memory (trial.c), held to the reference
 * of its op (check.c) or timed (time.c). tests/test_cpu.c checks with it too.
 */
#ifndef HONE_KERNELS_H
#define HONE_KERNELS_H

#include "hone/plugin.h"

/* Where kernels run: a device that is open. */
typedef struct {
    const hone_device *device;
    const hone_device_info *info; /* NULL: unknown */
    void *dev;
    int threads; /* that run() may use */
    hone_storage compute; /* HONE_BF16: activations and weights in bf16;
                             HONE_FP8: what can be in fp8; HONE_NF4: what reads
                             nf4 */
    int scale; /* of the rows in timed calls; 0: 1 */
    int can_capture;
} kernel_bench;

typedef struct {
    int cases;    /* that the kernel covers */
    double error; /* the largest difference, as a share of its bound */
    double worst; /* the largest difference / largest number of the output */
    double bound;
    char shapes[160]; /* of the inputs of the first that is wrong */
} kernel_verdict;

typedef struct {
    double seconds, bytes, flops; /* of one run */
} kernel_timing;

enum { CASE_OPERANDS = 32 };

/* One call of an op with shapes and attributes drawn. */
typedef struct {
    const hone_op *op;
    hone_call call;
    hone_type type[CASE_OPERANDS];
    uint8_t mode[CASE_OPERANDS];
    int64_t limit; /* integers that stand for tokens and rows are below it */
    int copies;    /* the last outputs: of these once more, see HONE_TWICE */
    uint32_t copied[CASE_OPERANDS];
} kernel_case;

/* CONFIG of a component when nobody says anything. */
void component_defaults(const hone_component *, void *config);

/* Four uniform 32-bit numbers: number INDEX of the stream STREAM. */
void case_random(uint64_t seed, uint32_t stream, uint64_t index, uint32_t r[4]);

/* BIG: the shapes of a model of 135 million parameters, for timing, with BIG
 * times 1,024 rows; 0: small odd ones. COMPUTE: as of kernel_bench. ATTRS: room
 * for the op's. HONE_ENOSUP: no shapes are known for this op, or none that
 * differ by it. */
hone_status case_draw(kernel_case *, const hone_component *op, uint64_t seed,
                      int big, hone_storage compute, void *attrs, hone_err *);

/* Whether calls of the op can be drawn with operands in these codes: weights,
 * what is converted, or written twice. */
int case_has(const hone_component *op, hone_storage codes);

/* A call with its memory. All operands lie in one slab, gaps of a known byte
 * between them: the whole slab comes back, so that a write outside an output
 * shows. */
typedef struct {
    kernel_case c;
    int64_t at[CASE_OPERANDS];   /* offsets in the slab */
    int64_t from[CASE_OPERANDS]; /* of what outputs add to */
    int adds_from;
    int64_t slab_bytes, workspace_bytes;
    char *before, *host, *again; /* images of the slab: before the run, after
                                    it, after another one */
    void *slab, *workspace, *attrs, *prepared;
    hone_ptr ptr[2 * CASE_OPERANDS];
    hone_call ref; /* the call of the reference, fp32 as fp64 */
    hone_type ref_type[CASE_OPERANDS];
    hone_ptr ref_ptr[CASE_OPERANDS];
    hone_stream stream;
    int streaming; /* the stream is open */
} trial;

enum { GAP = 0xA5 };

/* Draws a call and sets it up as far as run(); trial_close() in any case. */
hone_status trial_open(trial *, const kernel_bench *, const hone_kernel *,
                       const hone_component *op, uint64_t seed, int big,
                       hone_err *);
void trial_close(trial *, const kernel_bench *);

/* Two runs on the operands as they were drawn; the slab comes to `host` and
 * `again`, whose bits must be the same. */
hone_status trial_run(trial *, const kernel_bench *, const hone_kernel *,
                      hone_err *);

uint32_t trial_operands(const trial *);
int trial_is_output(const trial *, uint32_t i);

/* Bytes of an operand, and where part P of it begins. */
int64_t type_bytes(const hone_type *);
int64_t type_part_at(const hone_type *, int p);
/* Element K of an operand as a number. */
double type_number(const hone_type *, const void *at, int64_t k);

/* CASES random calls against the reference in double. An error: the kernel
 * wrote where it must not, gave other bits the second time, or refused after
 * prepare() had accepted. A difference beyond the bound is error > 1. */
hone_status kernel_check(const kernel_bench *, const hone_kernel *,
                         const hone_component *op, int cases, kernel_verdict *,
                         hone_err *);

/* The median of many runs over several sets of operands, more than caches
 * hold; where the device can, they are replayed, so that no launch is waited
 * for. */
hone_status kernel_time(const kernel_bench *, const hone_kernel *,
                        const hone_component *op, kernel_timing *, hone_err *);

#endif
