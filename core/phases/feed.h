/* SPDX-License-Identifier: MIT
 *
 * feed.h -- from the rows of a step to the inputs of its micro-steps: asks the
 * collator for the layout, fills a slot of pinned memory that mirrors the
 * store's inputs, and sends it off with one copy. While the device computes a
 * micro-step the next ones are laid out; an event guards the use of a slot
 * after its copy. Where device memory is host memory, the store is the slot.
 */
#ifndef HONE_FEED_H
#define HONE_FEED_H

#include "loader.h"
#include "program.h"
#include "registry.h"

enum { HONE_FEED_SLOTS = 3 };

/* The inputs of a micro-step, where they lie in a slot. */
typedef struct hone_inputs {
    int32_t *tokens, *targets, *target_at, *positions, *rows, *docs;
    int64_t *rng;
    float *dloss, *lr; /* lr: NULL without training */
} hone_inputs;

typedef struct hone_feed {
    const hone_instance *collator;
    const hone_bucket *bucket;
    uint32_t buckets;
    hone_machine *machine;
    const hone_store *store;
    hone_layout layout;
    int32_t *lengths;
    hone_inputs slot[HONE_FEED_SLOTS];
    char *memory[HONE_FEED_SLOTS];
    hone_event sent[HONE_FEED_SLOTS];
    int slots;
    int64_t made;         /* micro-batches, of all steps */
    int64_t targets_here; /* of the last one */
} hone_feed;

/* Host memory of a feed for at most BATCH rows, and pinned memory. */
int64_t hone_feed_bytes(int64_t batch);
int64_t hone_feed_pinned(const hone_store *, const hone_machine *);
/* Lays the buffers out in memory of these sizes; before the freeze. */
hone_status hone_feed_open(hone_feed *, int64_t batch, void *memory,
                           void *pinned, hone_err *);
void hone_feed_close(hone_feed *);

/* Whether every step of these rows is laid out as one micro-batch: so if the
 * collator says it of the longest rows that there are; else all steps are laid
 * out, until one is not. */
int hone_feed_is_single(const hone_instance *collator, const hone_bucket *,
                        uint32_t buckets, const hone_loader_spec *);

/* What all micro-steps of a step share. */
typedef struct hone_step_inputs {
    int64_t rng[2];
    float dloss, lr;
} hone_step_inputs;

/* The layout of a step; the number of micro-batches is layout.micros. */
hone_status hone_feed_step(hone_feed *, const hone_rows *, hone_err *);
/* Fills and sends the inputs of micro-batch M; waits for nothing but a slot.
 * `targets` and `target_at` list what is to be predicted and where,
 * targets_here of them; -1 behind. */
hone_status hone_feed_micro(hone_feed *, const hone_rows *, int m,
                            const hone_step_inputs *, hone_err *);

#endif
