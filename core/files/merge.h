/* SPDX-License-Identifier: MIT
 *
 * merge.h -- a model with an adapter merged in, tensor by tensor and row by
 * row on the fly: W + scale * B A in double, with dora each row brought to its
 * magnitude, rounded once to the dtype of W.
 * Lends itself to exporters as a hone_export.
 */
#ifndef HONE_MERGE_H
#define HONE_MERGE_H

#include "arena.h"
#include "hone/plugin.h"
#include "peft.h"
#include "safetensors.h"

typedef struct hone_merge {
    const hone_weights *base;
    hone_arena arena;
    const hone_peft_spec *adapter;
    const hone_peft_module **module; /* [base->count], NULL: as it is */
    const hone_weight **saved; /* [base->count] instead of it; NULL: none */
    uint32_t at; /* tensor whose A is held; base->count: none */
    /* HONE_NF4 or HONE_NF4_PLAIN, set behind open(): the adapter was trained on
     * matrices of layers held so, which are what it is merged into; else 0. */
    hone_storage held;
    uint32_t held_at;  /* tensor whose codes are there */
    hone_ptr codes;
    float *x;    /* some numbers */
    float *a;    /* [r,in] */
    float *b;    /* [r], one row of B */
    double *row; /* [in], one row of the result */
} hone_merge;

/* ADAPTER may be NULL. Both outlive the merge. A module without a weight of
 * its shape in the base is refused by name. */
hone_status hone_merge_open(hone_merge *, const hone_weights *base,
                            const hone_peft *adapter, hone_err *);
/* BYTES from OFFSET on of tensor I, both multiples of its element size. One
 * thread at a time. */
hone_status hone_merge_read(hone_merge *, uint32_t i, int64_t offset,
                            int64_t bytes, void *to, hone_err *);
/* All of tensor I as HONE_NF4 or HONE_NF4_PLAIN. */
hone_status hone_merge_codes(hone_merge *, uint32_t i, hone_storage,
                             const hone_ptr *to, hone_err *);
/* Fills count, name, type, read, codes and self; the rest is the caller's. */
void hone_merge_lend(hone_merge *, hone_export *);
void hone_merge_close(hone_merge *);

#endif
