/* SPDX-License-Identifier: MIT
 *
 * dataset_state.h -- how far a preparation is: a file in the folder of the
 * shards, written anew every second, from which the same command goes on.
 */
#ifndef HONE_DATASET_STATE_H
#define HONE_DATASET_STATE_H

#include "dataset_block.h"
#include "shard_write.h"

typedef struct hone_half_state {
    hone_shard_counts counts;
    hone_shard_mark mark;
} hone_half_state;

typedef struct hone_prep_state {
    char magic[8];
    int64_t file, row;  /* the next is row ROW (from 0) of file FILE */
    int64_t sealed;     /* both shards are whole, they only lack their names */
    int64_t counted;    /* train_rows is known */
    int64_t all_rows;   /* that were counted for it */
    int64_t train_rows[HONE_MOST_SOURCES]; /* before those held out */
    int64_t seen[HONE_MOST_SOURCES];       /* rows of each source so far */
    hone_half_state half[2];               /* train, val */
    uint64_t hash;
} hone_prep_state;

/* 0: there is none, or it is damaged: nothing to go on from. */
int hone_prep_state_load(hone_prep_state *, const char *folder);
hone_status hone_prep_state_save(hone_prep_state *, const char *folder,
                                 hone_err *);
void hone_prep_state_remove(const char *folder);

/* Waits until no other process prepares in FOLDER; closing the file lets the
 * next one in. */
hone_status hone_prep_lock(const char *folder, int *fd, hone_err *);

#endif
