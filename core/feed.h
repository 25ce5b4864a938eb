/* SPDX-License-Identifier: MIT
 *
 * feed.h -- from the rows of a step to the inputs of its micro-steps: asks the
 * collator for the layout, fills host buffers, copies them to the device.
 */
#ifndef HONE_FEED_H
#define HONE_FEED_H

#include "loader.h"
#include "program.h"
#include "registry.h"

typedef struct hone_feed {
    const hone_instance *collator;
    const hone_bucket *bucket;
    uint32_t buckets;
    hone_machine *machine;
    const hone_store *store;
    hone_layout layout;
    int32_t *lengths;
    /* Of the largest micro-batch. */
    int32_t *tokens, *targets, *target_at, *positions, *rows, *docs;
    int64_t targets_here; /* of the last micro-batch filled */
} hone_feed;

/* Host memory of a feed for at most BATCH rows. */
int64_t hone_feed_bytes(const hone_bucket *, uint32_t buckets, int64_t batch);
/* Lays the buffers out in MEMORY, which has hone_feed_bytes(). */
void hone_feed_init(hone_feed *, int64_t batch, void *memory);

/* The layout of a step; the number of micro-batches is layout.micros. */
hone_status hone_feed_step(hone_feed *, const hone_rows *, hone_err *);
/* Fills and copies the inputs of micro-batch M. `targets` and `target_at` list
 * what is to be predicted and where, targets_here of them; -1 behind. */
hone_status hone_feed_micro(hone_feed *, const hone_rows *, int m,
                            hone_err *);
/* An input of the whole step. */
hone_status hone_feed_put(hone_feed *, const char *name, const void *data,
                          int64_t bytes, hone_err *);

#endif
