/* SPDX-License-Identifier: MIT
 *
 * dataset_prep.h -- the work behind hone_dataset_open(): rows of files, through
 * a shape and the tokenizer, into train.shard and val.shard of a folder; by
 * all cores, in memory that does not grow with the data, and from where an
 * earlier process was stopped.
 */
#ifndef HONE_DATASET_PREP_H
#define HONE_DATASET_PREP_H

#include <sys/stat.h>

#include "dataset_files.h"
#include "dataset_shape.h"
#include "recipe.h"
#include "tokens.h"

/* What prepared data depends on beside the files; +1 when the code here makes
 * other tokens of the same rows. */
enum { HONE_PREP_VERSION = 4 };

/* SOURCE[COUNT], at most 64, one after another. Their files are numbered
 * through, those that are held out whole behind all others; see
 * hone_prep_files(). FOUND: hone_prep_stand() before the files were hashed.
 * $HONE_WORKERS: threads, instead of one a core. A signal stops it
 * (HONE_EINTR). */
hone_status hone_dataset_prepare(const hone_data_config *const *source,
                                 int count, const hone_tokens *,
                                 const struct stat *found, const char *folder,
                                 hone_err *);

/* How the files stand, in the same order. */
const struct stat *hone_prep_stand(hone_arena *,
                                   const hone_data_config *const *source,
                                   int count);

/* The files in the order of the numbers that rows carry; ends with NULL. */
const char *const *hone_prep_files(hone_arena *,
                                   const hone_data_config *const *source,
                                   int count);

#endif
