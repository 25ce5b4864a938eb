/* SPDX-License-Identifier: MIT
 *
 * shard.h -- a shard: one file of zstd-compressed tokens with their loss mask
 * and an index of its rows, as shard_write.h makes it. datasets/FORMAT.md is
 * its description, byte by byte. Files are attacker input: opening checks the
 * index, reading checks every frame.
 */
#ifndef HONE_SHARD_H
#define HONE_SHARD_H

#include "arena.h"
#include "hone/plugin.h"

enum { HONE_SHARD_VERSION = 2, HONE_FRAME_TOKENS = 1024, HONE_ROW_STRIDE = 64 };

/* What happened to the rows that were read to make a shard, and what is odd
 * about those in it. */
typedef struct hone_shard_counts {
    uint64_t cut;     /* rows shortened to max_tokens */
    uint64_t split;   /* rows divided into several */
    uint64_t skipped; /* rows left out, whatever the reason */
    uint64_t dropped; /* of these: longer than max_tokens */
    uint64_t broken;  /* of these: damaged */
    uint64_t left;    /* of these: by the recipe's functions */
    uint64_t no_target; /* of these: without a target token */
    /* of the rows that are here: */
    uint64_t all_target; /* every token is a target */
    uint64_t no_end;     /* whole, and without the end token behind */
    uint64_t twice_begun; /* two BOS at their beginning */
    uint64_t repeated;   /* the same as one before */
    uint64_t in_train;   /* held out, and trained on too */
} hone_shard_counts;

/* The first bytes of the file, as they are there: little-endian. */
typedef struct hone_shard_head {
    char magic[8];
    uint32_t version, token_bytes, frame_tokens, vocab;
    uint64_t rows, tokens, targets, frames, index_at, index_bytes;
    hone_shard_counts counts;
    uint8_t tokenizer[32]; /* SHA-256 of tokenizer.json */
    uint64_t index_hash, head_hash;
} hone_shard_head;

/* A frame in the index: its place in the file, its size unpacked, the XXH64 of
 * its bytes in the file. */
typedef struct hone_shard_frame {
    uint64_t at;
    uint32_t bytes, raw_bytes;
    uint64_t hash;
} hone_shard_frame;

/* The file beside a shard, NAME.rows for NAME.shard: where its rows came from.
 * The shard does not depend on it. */
typedef struct hone_origin_head {
    char magic[8];
    uint64_t rows, index_hash; /* of the shard that it belongs to */
    uint64_t hash;             /* of the rows behind it, 8 bytes each */
} hone_origin_head;

/* An open shard. The arrays lie in the mapping. */
typedef struct hone_shard {
    const char *path;
    int fd;
    void *map, *rows_map;
    size_t map_bytes, rows_bytes;
    const hone_shard_head *head;
    const hone_shard_frame *frame; /* [frames] */
    const uint64_t *start;  /* first token of rows 0, STRIDE, 2 STRIDE... */
    const uint64_t *origin; /* [rows] hone_origin() */
    const int32_t *length;  /* [rows] tokens */
    const int32_t *targets; /* [rows] target tokens */
    int32_t min_length, max_length; /* 0 without rows */
    double squares;                 /* sum of length^2 */
    uint32_t max_bytes, max_raw;    /* of a frame */
} hone_shard;

/* Where a row came from: the file's index in the recipe, the row from 1. */
static inline uint64_t hone_origin(int file, int64_t row)
{
    return (uint64_t)file << 40 | (uint64_t)row;
}

static inline int hone_origin_file(uint64_t origin)
{
    return (int)(origin >> 40);
}

static inline int64_t hone_origin_row(uint64_t origin)
{
    return (int64_t)(origin & (((uint64_t)1 << 40) - 1));
}

hone_status hone_shard_open(hone_shard *, hone_arena *, const char *path,
                            hone_err *);
void hone_shard_close(hone_shard *);

/* Checks every frame without unpacking it. */
hone_status hone_shard_verify(const hone_shard *, hone_err *);

/* First token of a row. */
uint64_t hone_shard_start(const hone_shard *, int64_t row);

/* Reads rows in any order through the frames used last, all of them where they
 * fit HONE_READER_BYTES. All its memory is given (aligned to 64) and it
 * allocates nothing. One thread at a time. */
enum { HONE_READER_BYTES = 32 << 20 };
typedef struct hone_row_reader hone_row_reader;
int64_t hone_row_reader_bytes(const hone_shard *);
hone_status hone_row_reader_open(hone_row_reader **, const hone_shard *,
                                 void *memory, hone_err *);
/* Tells the disk that the row will be read soon. */
void hone_row_expect(hone_row_reader *, int64_t row);
/* TOKENS, MASK: length[row] of them. */
hone_status hone_row_read(hone_row_reader *, int64_t row, int32_t *tokens,
                          uint8_t *mask, hone_err *);

#endif
