/* SPDX-License-Identifier: MIT
 *
 * dataset.h -- data files made into shards once, and found again by the hash
 * of all that went in: files, shape, options, tokenizer, versions.
 */
#ifndef HONE_DATASET_H
#define HONE_DATASET_H

#include "arena.h"
#include "hone/plugin.h"
#include "recipe.h"
#include "tokens.h"

/* One half of the prepared data. */
typedef struct hone_split {
    int64_t rows, tokens, target_tokens, cut, skipped;
    const int32_t *length;  /* [rows] tokens of each row, mapped */
    const int32_t *targets; /* [rows] target tokens of each row, mapped */
    const char *path;       /* folder and stem of its shards */
    struct hone_shards *shards; /* open; see shard.h */
} hone_split;

typedef struct hone_dataset {
    hone_arena arena;
    hone_split train, val;
    const char *hash; /* hexadecimal, names the cache folder */
} hone_dataset;

/* Opens the prepared data of a recipe, preparing it first if need be. */
hone_status hone_dataset_open(hone_dataset *, const hone_recipe *,
                              const hone_tokens *, hone_err *);
void hone_dataset_close(hone_dataset *);

#endif
