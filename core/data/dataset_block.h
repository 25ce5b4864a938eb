/* SPDX-License-Identifier: MIT
 *
 * dataset_block.h -- some source rows on their way from a file to the shards:
 * copied out of the file in order, turned into tokens by any worker, written
 * in order. What a row becomes depends on the row alone.
 */
#ifndef HONE_DATASET_BLOCK_H
#define HONE_DATASET_BLOCK_H

#include "dataset_shape.h"
#include "recipe.h"
#include "tokens.h"
#include "workers.h"

enum { HONE_BLOCK_ROWS = 256, HONE_BLOCK_BYTES = 256 << 10 };

/* What happened to a source row, and what is odd about it. */
enum {
    HONE_ROW_CUT = 1,
    HONE_ROW_SPLIT = 2,
    HONE_ROW_DROPPED = 4, /* too long */
    HONE_ROW_LEFT = 8,    /* by the recipe's functions */
    HONE_ROW_NO_END = 16,
    HONE_ROW_TWICE_BEGUN = 32,
    HONE_ROW_REPAIRED = 64 /* it had bytes that are no UTF-8 */
};

typedef struct hone_source_row {
    int64_t number, line;
    size_t at, bytes;   /* of its text in the block */
    hone_status status; /* of reading or mapping it */
    int fatal;          /* the status ends the reading, whatever the recipe */
    hone_err *err;      /* if the status is not HONE_OK */
    uint32_t what;
    int pieces; /* rows of the shard: the next ones of the block */
} hone_source_row;

/* A row of the shard. */
typedef struct hone_piece {
    int64_t from, count; /* tokens of the block */
    int32_t targets;     /* that of the first does not count */
    uint64_t hash;
} hone_piece;

struct hone_mapper;

typedef struct hone_block {
    hone_job job;
    struct hone_mapper *mappers; /* [workers] */
    int file, source;
    const char *path;
    int64_t end; /* rows of the file up to and with these */
    double share; /* of the file, up to and with these; -1: not known */
    char *text;
    size_t text_bytes, text_cap;
    hone_source_row *row;
    int rows, row_cap;
    int32_t *ids;
    uint8_t *mask;
    int64_t count, cap;
    hone_piece *piece;
    int pieces, piece_cap;
} hone_block;

/* What a worker makes rows into tokens with: a Lua state of its own. */
typedef struct hone_mapper {
    const hone_data_config *const *config; /* of each source */
    const hone_tokens *tokens;
    hone_data_config own[HONE_MOST_SOURCES]; /* with functions of its own */
    hone_data_functions functions[HONE_MOST_SOURCES];
    hone_shape *shape[HONE_MOST_SOURCES]; /* opened when it is needed */
    int behind;     /* hone_tokens_behind(tokens) */
    hone_arena row; /* repaired text; freed after each row */
} hone_mapper;

void hone_mapper_close(hone_mapper *);

void hone_block_clear(hone_block *);
/* A row as its format gave it with STATUS; ERR is copied. */
void hone_block_add(hone_block *, hone_status status, const hone_row *,
                    const hone_err *err);
/* All rows to pieces: the run function of the block's job. */
void hone_block_map(hone_job *, int worker);
void hone_block_free(hone_block *);

#endif
