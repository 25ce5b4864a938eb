/* SPDX-License-Identifier: MIT
 *
 * cuda.h -- what every file of the CUDA pack shares on the host: the state of
 * the device, which init() gets as its context, and the usual checks of
 * prepare(). device.cuh has what kernels share.
 */
#ifndef HONE_CUDA_H
#define HONE_CUDA_H

#include <cuda_runtime_api.h>
#include <string.h>

#include "hone/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_blas;

enum { CUDA_PINNED = 4 }; /* large pieces at a time */

typedef struct cuda_device {
    int64_t index;
    int frozen;
    int processors;   /* multiprocessors */
    int arch;         /* 90 for compute capability 9.0; that of the code where
                         this was compiled for an older card */
    int shared_bytes; /* that one block can have at most */
    int64_t context_bytes;
    struct cuda_blas *blas;
    char name[288];
    struct {
        void *at;
        size_t bytes;
    } pinned[CUDA_PINNED];
} cuda_device;

/* Pinned memory that kernels can read too, and back. */
cudaError_t cuda_pin(cuda_device *, size_t bytes, void **);
void cuda_unpin(cuda_device *, void *);

/* The compute capability that the code in use was compiled for: at most that
 * of the card; an error where there is none for it. */
cudaError_t cuda_code_arch(int *arch);
/* Pointers that each tensor of a `map` has: those of its reads and writes, and
 * of the magnitudes where writes are held in blocks of eight bits. */
int cuda_map_pointers(const hone_call *);
/* What a call adds to a graph's USE, and all of them take; see graph.cu. */
int64_t cuda_graph_bytes(const hone_call *, int64_t use[HONE_GRAPH_USE]);
/* Numbers near 1, in whatever storage they are read. */
void cuda_noise(void *to, int64_t bytes, hone_stream);

/* CUDA_KERNELS(norm) = { { "rmsnorm", ... }, { NULL } }; */
#ifdef __cplusplus
#define CUDA_LINKAGE extern "C"
#else
#define CUDA_LINKAGE extern
#endif
#define CUDA_KERNELS(file)                                                     \
    CUDA_LINKAGE const hone_kernel hone_cuda_##file[];                         \
    const hone_kernel hone_cuda_##file[]

static inline int cuda_is_float(hone_storage s)
{
    return s == HONE_F32 || s == HONE_BF16 || s == HONE_F16;
}

/* Every operand is held as f32, bf16, f16 or integers: what kernels load and
 * store one by one. PREPARED: bytes of the prepared call. */
static inline hone_status cuda_plain(const hone_call *c, hone_need *need,
                                     int64_t prepared, hone_err *err)
{
    need->prepared_bytes = prepared;
    for (uint32_t i = 0; i < c->nin + c->nout; i++) {
        hone_storage s = c->type[i].storage;

        if (!cuda_is_float(s) && s != HONE_I32 && s != HONE_I64 &&
            s != HONE_NOTHING)
            return hone_fail(err, HONE_ENOSUP,
                             "cuda: %s: operand %u has storage '%s', which "
                             "the CUDA pack does not compute in",
                             c->op, i, hone_parts(s)[0].name);
    }
    return HONE_OK;
}

static inline int cuda_adds(const hone_call *c, uint32_t out)
{
    return c->mode[c->nin + out] == HONE_ADD;
}

static inline int64_t cuda_count(const hone_call *c, uint32_t operand)
{
    return hone_count(&c->type[operand]);
}

static inline unsigned char cuda_storage(const hone_call *c, uint32_t operand)
{
    return (unsigned char)c->type[operand].storage;
}

static inline int64_t cuda_ceil(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit;
}

/* Whether 16 bytes can be moved at a time from all of these addresses. */
static inline int cuda_aligned(const hone_ptr *ptr, uint32_t count)
{
    uintptr_t bits = 0;

    for (uint32_t i = 0; i < count; i++)
        bits |= (uintptr_t)ptr[i].part[0];
    return bits % 16 == 0;
}

#ifdef __cplusplus
}
#endif
#endif
