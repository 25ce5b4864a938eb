/* SPDX-License-Identifier: MIT
 *
 * documents.cu -- see documents.h. A document's first queries see no key where
 * it has more queries than keys: they are left out, so that their outputs are
 * 0 as those of rows between documents. Documents may come in any order.
 */
#include <cuda_runtime_api.h>

#include "documents.h"

enum { THREADS = 256, ROWS = 32 /* that a block looks after */ };

struct span {
    int q_at, q_len, k_at, k_len;
};

static __device__ span span_of(const cudnn_documents &d, int64_t i)
{
    int4 doc = ((const int4 *)d.docs)[i];
    int blind = max(doc.y - doc.w, 0);
    span s = { doc.x + blind, doc.y - blind, doc.z, doc.w };

    if (s.q_len <= 0)
        s = span{ 0, 0, 0, 0 };
    return s;
}

static __global__ void place(cudnn_documents d)
{
    for (int64_t i = blockIdx.x * THREADS + threadIdx.x; i <= d.count;
         i += (int64_t)gridDim.x * THREADS) {
        span s = i < d.count ? span_of(d, i) : span{ 0, 0, 0, 0 };

        d.q_at[i] = s.q_at * d.q_unit;
        d.k_at[i] = s.k_at * d.k_unit;
        d.lse_at[i] = s.q_at * d.lse_unit;
        if (i < d.count) {
            d.q_len[i] = s.q_len;
            d.k_len[i] = s.k_len;
        }
    }
}

/* Each warp finds out for a row whether a document has it. */
static __global__ void clear(cudnn_documents d, cudnn_rows r)
{
    const int lane = threadIdx.x % 32;
    const int64_t end = min((int64_t)(blockIdx.x + 1) * ROWS, r.rows);

    for (int64_t row = (int64_t)blockIdx.x * ROWS + threadIdx.x / 32; row < end;
         row += THREADS / 32) {
        int *at = (int *)((char *)r.at + row * r.bytes);
        int found = 0;

        for (int64_t i = lane; i < d.count; i += 32) {
            span s = span_of(d, i);
            int from = r.by_key ? s.k_at : s.q_at;

            found |= row >= from && row < from + (r.by_key ? s.k_len : s.q_len);
        }
        if (__any_sync(~0u, found))
            continue;
        for (int64_t i = lane; i < r.bytes / 4; i += 32)
            at[i] = 0;
    }
}

void cudnn_documents_place(const cudnn_documents *d, hone_stream stream)
{
    int blocks = (int)((d->count + THREADS) / THREADS);

    place<<<blocks, THREADS, 0, (cudaStream_t)stream>>>(*d);
}

void cudnn_rows_clear(const cudnn_documents *d, const cudnn_rows *r, int count,
                      hone_stream stream)
{
    for (int i = 0; i < count; i++)
        clear<<<(unsigned)((r[i].rows + ROWS - 1) / ROWS), THREADS, 0,
                (cudaStream_t)stream>>>(*d, r[i]);
}
