/* SPDX-License-Identifier: MIT
 *
 * dataset_warn.h -- what in prepared data ruins a run, in words.
 */
#ifndef HONE_DATASET_WARN_H
#define HONE_DATASET_WARN_H

#include "dataset.h"

typedef struct hone_warnings {
    int count;
    char text[8][400];
} hone_warnings;

/* Of one half, "train" or "val". */
void hone_split_warnings(hone_warnings *, const hone_split *,
                         const hone_recipe *, const char *name);

#endif
