/* SPDX-License-Identifier: MIT
 *
 * cpu.h -- what every file of the CPU pack shares: the name of its table of
 * kernels, the usual checks of prepare(), and the one way to use threads.
 *
 * Each file is compiled once for every level of the instruction set that the
 * build targets (CPU_LEVEL: base, v3, v4); pack.c takes the tables of the best
 * level that the machine has. So all functions here are static.
 */
#ifndef HONE_CPU_H
#define HONE_CPU_H

#include <omp.h>
#include <string.h>

#include "hone/nf4.h"
#include "hone/plugin.h"

#define CPU_JOIN_(a, b) hone_cpu_##a##_##b
#define CPU_JOIN(a, b) CPU_JOIN_(a, b)
#define CPU_TABLE(file, level) CPU_JOIN(file, level)
/* CPU_KERNELS(norm) = { { "rmsnorm", ... }, { NULL } }; */
#define CPU_KERNELS(file)                                                      \
    extern const hone_kernel CPU_TABLE(file, CPU_LEVEL)[];                     \
    const hone_kernel CPU_TABLE(file, CPU_LEVEL)[]

#define CPU_SIMD _Pragma("omp simd")

enum {
    CPU_LINE = 64,    /* bytes of a cache line: slices of workspace align */
    CPU_GRAIN = 16384 /* elements below which a thread is not worth waking */
};

static inline int64_t cpu_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t cpu_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t cpu_align(int64_t bytes)
{
    return (bytes + CPU_LINE - 1) / CPU_LINE * CPU_LINE;
}

/* ---------------------------------------------------------- sums over rows */

enum { CPU_BLOCK = 32 }; /* rows whose sum is added to that of a range at once */

/* Floats of the two sums of D columns that a thread has. */
static inline int64_t cpu_slice_floats(int64_t d)
{
    return 2 * cpu_align(d * (int64_t)sizeof(float)) / (int64_t)sizeof(float);
}

/* ------------------------------------------------------------- preparing */

/* All operands in f32, or integers as they are; half-width inputs and weights
 * in nf4 ask for a conversion. What else there is, another pack may know. */
static inline hone_status cpu_want_f32(const hone_call *c, hone_need *need,
                                       hone_err *err)
{
    for (uint32_t i = 0; i < c->nin + c->nout; i++) {
        hone_storage s = c->type[i].storage;

        if ((i < c->nin && hone_is_nf4(s)) ||
            ((i < c->nin || c->mode[i] == HONE_WRITE) &&
             (s == HONE_BF16 || s == HONE_F16)))
            need->want[i] = HONE_F32;
        else if (s != HONE_F32 && s != HONE_I32 && s != HONE_I64 &&
                 s != HONE_NOTHING)
            return hone_fail(err, HONE_ENOSUP,
                             "cpu: %s: operand %u has storage '%s', which the "
                             "CPU pack does not compute in; use fp32",
                             c->op, i, hone_parts(s)[0].name);
    }
    return HONE_OK;
}

static inline int cpu_adds(const hone_call *c, uint32_t out)
{
    return c->mode[c->nin + out] == HONE_ADD;
}

static inline int64_t cpu_count(const hone_call *c, uint32_t operand)
{
    return hone_count(&c->type[operand]);
}

static inline int cpu_absent(const hone_call *c, uint32_t operand)
{
    return c->type[operand].storage == HONE_NOTHING;
}

/* --------------------------------------------------------------- threads */

/* Works on items [first, last) of some range; PART numbers the range. */
typedef void (*cpu_body)(const void *arg, int64_t first, int64_t last,
                         int part);

/* Into how many ranges cpu_for() cuts N items. */
static inline int cpu_parts(int threads, int64_t n, int64_t grain)
{
    return (int)cpu_max(1, cpu_min(threads, n / cpu_max(grain, 1)));
}

/* One range, on this thread. OpenBLAS asks omp_get_max_threads() whether it
 * may start threads of its own; the answer must be no. */
static inline void cpu_serial(int64_t n, cpu_body body, const void *arg)
{
    int before = omp_get_max_threads();

    if (before != 1)
        omp_set_num_threads(1);
    body(arg, 0, n, 0);
    if (before != 1)
        omp_set_num_threads(before);
}

/* Cuts [0, n) into ranges of GRAIN items at least, the same ones for the same
 * number of threads however many the system really gives. Every team has the
 * same size: libgomp allocates when the size of a team changes. */
static inline void cpu_for(int threads, int64_t n, int64_t grain, cpu_body body,
                           const void *arg)
{
    int parts = cpu_parts(threads, n, grain);

    if (parts == 1) {
        cpu_serial(n, body, arg);
        return;
    }
#pragma omp parallel num_threads(threads)
    for (int i = omp_get_thread_num(); i < parts; i += omp_get_num_threads())
        body(arg, n * i / parts, n * (i + 1) / parts, i);
}

/* Item by item, whichever thread is free next: for items of unequal cost that
 * write to places of their own. PART is below THREADS. */
static inline void cpu_each(int threads, int64_t n, cpu_body body,
                            const void *arg)
{
    int64_t next = 0;

    if (threads == 1 || n <= 1) {
        cpu_serial(n, body, arg);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        int part = omp_get_thread_num();
        int64_t i;

        while ((i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < n)
            body(arg, i, i + 1, part);
    }
}

#endif
