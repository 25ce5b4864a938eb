/* SPDX-License-Identifier: MIT
 *
 * dataset_prep.h -- the work behind hone_dataset_open(): rows of files, through
 * a shape and the tokenizer, into train.shard and val.shard of a folder.
 */
#ifndef HONE_DATASET_PREP_H
#define HONE_DATASET_PREP_H

#include "dataset_shape.h"
#include "recipe.h"
#include "tokens.h"

/* What prepared data depends on beside the files; +1 when the code here makes
 * other tokens of the same rows. */
enum { HONE_PREP_VERSION = 1 };

/* The component that reads a file, by its ending. */
hone_status hone_format_find(const char *path, const hone_component **,
                             hone_err *);

hone_status hone_dataset_prepare(const hone_data_config *, hone_shape *,
                                 const hone_tokens *, const char *folder,
                                 hone_err *);

#endif
