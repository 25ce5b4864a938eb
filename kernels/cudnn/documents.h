/* SPDX-License-Identifier: MIT
 *
 * documents.h -- what lies where, as cuDNN wants to be told, made of the
 * table of documents at the start of each call, on the GPU.
 */
#ifndef HONE_CUDNN_DOCUMENTS_H
#define HONE_CUDNN_DOCUMENTS_H

#include <stdint.h>

#include "hone/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* [docs + 1] each but for the lengths, [docs]. Beginnings are counted in
 * numbers of the tensor, q_unit to a row of q. */
typedef struct cudnn_documents {
    const int32_t *docs;
    int64_t count;
    int32_t q_unit, k_unit, lse_unit;
    int32_t *q_at, *k_at, *lse_at, *q_len, *k_len;
} cudnn_documents;

/* Rows of a tensor that must be 0 where no document is. */
typedef struct cudnn_rows {
    void *at;
    int64_t rows, bytes; /* of a row, a multiple of 4 */
    int by_key;          /* a row for each key instead of each query */
} cudnn_rows;

enum { CUDNN_MOST_ROWS = 3 };

void cudnn_documents_place(const cudnn_documents *, hone_stream);
void cudnn_rows_clear(const cudnn_documents *, const cudnn_rows *, int count,
                      hone_stream);

#ifdef __cplusplus
}
#endif
#endif
