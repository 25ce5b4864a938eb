/* SPDX-License-Identifier: MIT
 *
 * dataset_shape.h -- a data shape, recipes/data/NAME.lua: what a row must have
 * and how it becomes segments of text. The head of alpaca.lua is its
 * description.
 */
#ifndef HONE_DATASET_SHAPE_H
#define HONE_DATASET_SHAPE_H

#include "arena.h"
#include "hone/plugin.h"
#include "recipe.h"
#include "tokens.h"

/* A part of a row: a text to tokenize on its own, ids, or else the end
 * token. */
typedef struct hone_segment {
    const char *text;
    size_t bytes;
    const int32_t *ids;
    const uint8_t *mask; /* ids that are targets; NULL: as target says */
    int64_t count;       /* of ids */
    int target, special;
    int begins; /* a row of tokens of its own, from here on */
} hone_segment;

typedef struct hone_shape hone_shape;

/* Its name, its renames, the recipe's functions; CONFIG must stay. TOKENS: the
 * model's, whose folder has the chat template that a shape of conversations
 * needs; NULL: rows are only looked at. */
hone_status hone_shape_open(hone_shape **, const hone_data_config *config,
                            const hone_tokens *tokens, hone_err *);
void hone_shape_close(hone_shape *);
/* The text of its file and of chat templates: part of what prepared data
 * depends on. */
const char *hone_shape_text(const hone_shape *, size_t *bytes);

/* Whether there is a loss for its rows; they can be prepared in any case. */
int hone_shape_trains(const hone_shape *);

/* A row's JSON text to segments, valid until the next call; none: the recipe's
 * functions leave the row out. The message of an
 * error names no file; LINE is that of the error in the text, from 1. */
hone_status hone_shape_map(hone_shape *, const char *json, size_t bytes,
                           const hone_segment **, int *count, int *line,
                           hone_err *);

#endif
