/* SPDX-License-Identifier: MIT
 *
 * shard_write.h -- writes NAME.shard and NAME.rows (shard.h) in bounded memory:
 * frames and the records of rows go to the disk as they come, the index is
 * made of them at the end. A writer can say where it stands and be opened
 * there again by another process.
 */
#ifndef HONE_SHARD_WRITE_H
#define HONE_SHARD_WRITE_H

#include "shard.h"
#include "workers.h"

typedef struct hone_shard_writer hone_shard_writer;

typedef struct hone_shard_spec {
    const char *path; /* ends in .shard */
    int32_t vocab;
    const char *tokenizer; /* 64 hexadecimal digits */
    hone_workers *workers; /* compress */
} hone_shard_spec;

/* mask[i]: token i is a target. */
typedef struct hone_shard_row {
    const int32_t *tokens;
    const uint8_t *mask; /* 0 or 1 */
    int64_t count;
    int32_t targets; /* the first token does not count */
    uint64_t origin;
    uint64_t hash; /* hone_row_hash() */
} hone_shard_row;

/* What is known of a written row without unpacking it. */
typedef struct hone_row_record {
    int32_t length, targets;
    uint64_t origin, hash;
} hone_row_record;

/* Where a writer stands; what lies in its files behind that is of no worth. */
typedef struct hone_shard_mark {
    uint64_t at, rows, tokens, targets, frames;
    uint32_t open; /* tokens of the frame that is not full */
    int32_t token[HONE_FRAME_TOKENS];
    uint8_t mask[HONE_FRAME_TOKENS];
} hone_shard_mark;

uint64_t hone_row_hash(const int32_t *tokens, const uint8_t *mask, int64_t n);

/* FROM: a mark of an earlier writer of the same shard, or NULL. */
hone_status hone_shard_create(hone_shard_writer **, const hone_shard_spec *,
                              const hone_shard_mark *from, hone_err *);
hone_status hone_shard_add(hone_shard_writer *, const hone_shard_row *,
                           hone_err *);
/* All before the mark is on the disk when this returns. */
hone_status hone_shard_stand(hone_shard_writer *, hone_shard_mark *,
                             hone_err *);
/* Records of rows FIRST to FIRST + COUNT - 1 of those added. */
hone_status hone_shard_records(hone_shard_writer *, uint64_t first,
                               hone_row_record *to, uint64_t count,
                               hone_err *);
/* Writes index and head, syncs. Nothing may be added any more. */
hone_status hone_shard_seal(hone_shard_writer *, const hone_shard_counts *,
                            hone_err *);
/* Forgets the writer; its files stay. */
void hone_shard_close_writer(hone_shard_writer *);

/* Gives a sealed shard its name. May be called again after a crash. */
hone_status hone_shard_publish(const char *path, hone_err *);
/* Removes what writers left beside PATH. */
void hone_shard_clean(const char *path);

#endif
