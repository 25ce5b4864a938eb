/* SPDX-License-Identifier: MIT
 *
 * loader.h -- rows for a step, streamed from shards by a reader thread.
 *
 * Order: row i of epoch e is permute(seed, e, i), and a step takes the next
 * rows of the stream of epochs: `batch` of them, or as many as fit `tokens`.
 * A pure function of seed and lengths: no state, any restart. The loader is
 * asked for (step, rank, ranks): rank r gets the rows whose index in the
 * global batch is r modulo ranks.
 */
#ifndef HONE_LOADER_H
#define HONE_LOADER_H

#include "arena.h"
#include "dataset.h"
#include "hone/plugin.h"

/* One row of a step. TOKENS and MASK hold LENGTH items; mask[i]: token i is a
 * target (of position i - 1; that of the first never counts). */
typedef struct hone_sample {
    int32_t index;  /* in the global batch */
    int64_t row;    /* in the prepared data: names the sample in messages */
    int32_t length;
    const int32_t *tokens;
    const uint8_t *mask;
} hone_sample;

/* Rows of one step on this rank; valid until the one after the next. */
typedef struct hone_rows {
    int64_t step; /* from 0 */
    int count;
    hone_sample *sample;
    int64_t tokens, targets;   /* of this rank */
    int64_t all_rows, all_tokens, all_targets; /* of the whole global batch */
    int64_t lost; /* rows of damaged frames: not among all_rows */
} hone_rows;

typedef struct hone_loader_spec {
    const hone_split *split; /* train or val, of an open dataset */
    int64_t seed;
    int shuffle;
    int64_t batch;      /* rows of a global batch; with tokens: at most */
    int64_t tokens;     /* of a global batch, in whole rows; 0: by rows */
    int64_t first_step; /* from 0 */
    int64_t steps;      /* total, so that it can stop and size the last */
    int64_t total_rows; /* epochs * rows (rounded); 0: steps * batch */
    int rank, ranks;
    int skip_broken;    /* alone, leave rows of damaged frames out */
} hone_loader_spec;

typedef struct hone_loader hone_loader;

/* Bytes of host memory that an open loader of this spec takes, exactly. */
int64_t hone_loader_bytes(const hone_loader_spec *);
/* MEMORY: hone_loader_bytes() of it, aligned to 64; all it ever uses but the
 * stack of its thread, which starts here. */
hone_status hone_loader_open(hone_loader **, const hone_loader_spec *,
                             void *memory, hone_err *);
/* The rows of the next step; HONE_END after the last. */
hone_status hone_loader_next(hone_loader *, const hone_rows **, hone_err *);
/* Starts over at STEP; all rows handed out before are gone. No thread and no
 * memory is taken: one loader serves every evaluation of a run. */
void hone_loader_seek(hone_loader *, int64_t step);
void hone_loader_close(hone_loader *);

/* ------------------------------------------- which rows: loader_order.c */

/* Row of epoch EPOCH at position I of N (a bijection of [0, N)). */
int64_t hone_permute(int64_t seed, int64_t epoch, int64_t i, int64_t n);
/* The row at place AT of the stream of epochs. */
int64_t hone_order_row(const hone_loader_spec *, int64_t at);
/* Rows of the step that begins at place AT. */
int64_t hone_order_count(const hone_loader_spec *, int64_t at);

/* A step and the place where it begins; all zero: the first. */
typedef struct hone_order {
    int64_t step, at;
} hone_order;

/* With `tokens` it goes through all steps on the way. */
void hone_order_seek(const hone_loader_spec *, hone_order *, int64_t step);
/* Of a spec with `tokens`, and with total_rows or steps: goes through the
 * whole stream once and sets both, and batch to the most rows of a step. A row
 * longer than `tokens` is an error with its name. */
hone_status hone_order_measure(hone_loader_spec *, hone_err *);

/* The rows that a recipe trains on and is evaluated with, as its only rank. */
hone_status hone_loader_specs(const hone_recipe *, const hone_dataset *,
                              hone_loader_spec *train, hone_loader_spec *val,
                              hone_err *);

#endif
