/* SPDX-License-Identifier: MIT
 *
 * dataset_twins.h -- rows that are there twice, by the hash of their tokens.
 */
#ifndef HONE_DATASET_TWINS_H
#define HONE_DATASET_TWINS_H

#include "shard_write.h"

/* Sets counts.repeated of both halves and in_train of the held-out one, in
 * bounded memory: beyond some millions of rows a share of all hashes is looked
 * at, and the counts are estimates. */
hone_status hone_twins_count(hone_shard_writer *train, uint64_t train_rows,
                             hone_shard_counts *train_counts,
                             hone_shard_writer *val, uint64_t val_rows,
                             hone_shard_counts *val_counts, hone_err *);

#endif
