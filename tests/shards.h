/* SPDX-License-Identifier: MIT
 *
 * shards.h -- for tests: a shard of made-up rows that can be told by their
 * number.
 */
#ifndef HONE_TESTS_SHARDS_H
#define HONE_TESTS_SHARDS_H

#include "shard_write.h"

enum { ROWS = 301 };

static int32_t row_length(int row)
{
    return row == 7 ? 12 * HONE_FRAME_TOKENS + 5 : 2 + row * 37 % 400;
}

static int32_t row_token(int row, int i)
{
    return (row * 7919 + i * 31) % 49152;
}

static uint8_t row_mask(int row, int i)
{
    return row % 3 ? i >= row_length(row) / 2 : (uint8_t)(i % 2);
}

static hone_status add_row(hone_shard_writer *w, int r, hone_err *err)
{
    static int32_t tokens[16 * HONE_FRAME_TOKENS];
    static uint8_t mask[16 * HONE_FRAME_TOKENS];
    hone_shard_row row = { tokens, mask, row_length(r), 0,
                           hone_origin(r % 2, r + 1), 0 };

    for (int i = 0; i < row.count; i++) {
        tokens[i] = row_token(r, i);
        mask[i] = row_mask(r, i);
        row.targets += i > 0 && mask[i];
    }
    row.hash = hone_row_hash(tokens, mask, row.count);
    return hone_shard_add(w, &row, err);
}

static hone_status write_rows(const char *path, int32_t vocab, int threads,
                              hone_err *err)
{
    static const hone_shard_counts counts = { .cut = 1, .split = 2,
                                              .skipped = 3 };
    char hash[65] = "";
    hone_workers *workers;
    hone_shard_writer *w;
    hone_shard_spec spec = { path, vocab, hash, NULL };

    memset(hash, 'a', 64);
    hone_try(hone_workers_open(&workers, threads, err));
    spec.workers = workers;
    hone_try(hone_shard_create(&w, &spec, NULL, err));
    for (int r = 0; r < ROWS; r++)
        hone_try(add_row(w, r, err));
    hone_try(hone_shard_seal(w, &counts, err));
    hone_shard_close_writer(w);
    hone_workers_close(workers);
    hone_try(hone_shard_publish(path, err));
    hone_shard_clean(path);
    return HONE_OK;
}

#endif
