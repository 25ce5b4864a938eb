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
#include "shard.h"
#include "tokens.h"

/* How rows enter an epoch: TAKE of those that begin with row FIRST, of which
 * there are ROWS. Where TAKE is another number they are a stream of epochs of
 * their own: each of them comes again when all others have been. */
typedef struct hone_share {
    int64_t first, rows, take;
} hone_share;

/* One half of the prepared data. */
typedef struct hone_split {
    int64_t rows, tokens, target_tokens, cut, skipped;
    const hone_share *share; /* [shares] what an epoch is made of */
    int shares;              /* 0: of every row once */
    const int32_t *length;  /* [rows] tokens of each row, mapped */
    const int32_t *targets; /* [rows] target tokens of each row, mapped */
    const char *path;       /* of its shard */
    hone_shard shard;       /* open */
    const char *const *files; /* where its rows came from */
} hone_split;

typedef struct hone_dataset {
    hone_arena arena;
    hone_split train, val;
    const char *hash; /* hexadecimal, names the cache folder */
    int warned;       /* that it was there, but damaged */
    const char *untrained; /* a shape that there is no loss for, or NULL */
} hone_dataset;

/* The folder of what hone keeps: $HONE_CACHE, or where caches are. */
const char *hone_cache_dir(hone_arena *);

/* Opens the prepared data of a recipe, preparing it first if need be. */
hone_status hone_dataset_open(hone_dataset *, const hone_recipe *,
                              const hone_tokens *, hone_err *);
void hone_dataset_close(hone_dataset *);

/* Names the first row with an id that is not below VOCAB, the model's. Rows are
 * read only where the tokenizer has more ids than that. */
hone_status hone_dataset_check_ids(const hone_dataset *, int64_t vocab,
                                   hone_err *);

/* What a collator must know of both halves; BATCH: rows of a step. */
hone_lengths hone_dataset_lengths(const hone_dataset *, int64_t batch);

/* Rows of an epoch. */
int64_t hone_split_epoch(const hone_split *);

/* "data/alpaca.json: row 12", the place that a prepared row came from. */
void hone_split_name(const hone_split *, int64_t row, char *to, size_t bytes);

/* The same for the longest row of both halves: what to name when a collator
 * refuses it. */
void hone_dataset_longest(const hone_dataset *, char *to, size_t bytes);

#endif
