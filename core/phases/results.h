/* SPDX-License-Identifier: MIT
 *
 * results.h -- what a run leaves: adapter/ or model/. Everything is laid out
 * before training; saving allocates nothing.
 */
#ifndef HONE_RESULTS_H
#define HONE_RESULTS_H

#include "model_files.h"
#include "peft.h"
#include "program.h"
#include "safetensors.h"

enum { HONE_STAGING_BYTES = 1 << 18 };

typedef struct hone_results {
    const char *folder; /* NULL: nothing is saved */
    hone_peft_saver *peft;
    hone_saver *model;
    hone_model_files files;
    const hone_kept **tensor; /* in the order of the saver's list */
    hone_type *type;          /* as they are written */
    int count;
    char *staging[2];         /* as held, as written: HONE_STAGING_BYTES */
} hone_results;

/* WEIGHTS: the source of dtypes, or NULL. ADAPTER: its spec, or NULL for a
 * whole model. */
hone_status hone_results_prepare(hone_results *, hone_arena *,
                                 const char *out, const char *model,
                                 const hone_weights *weights,
                                 const hone_peft_spec *adapter,
                                 const hone_store *, hone_err *);
int64_t hone_results_bytes(const hone_results *); /* on disk */
hone_status hone_results_save(hone_results *, const hone_store *,
                              hone_machine *, hone_err *);

#endif
