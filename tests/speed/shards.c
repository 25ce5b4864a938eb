/* SPDX-License-Identifier: MIT
 *
 * shards.c -- for developers: how fast one core reads a shard back, row by row
 * in the order of the file and in that of a shuffled epoch.
 *
 * speed_shards FILE.shard [TIMES]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "loader.h"

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pass(const hone_split *s, int shuffle, hone_row_reader *r,
                 int32_t *tokens, uint8_t *mask)
{
    hone_loader_spec spec = { .split = s, .shuffle = shuffle, .seed = 1 };
    int64_t done = 0, rows = 0;
    double start = now_s(), spent = 0;
    hone_err err;

    for (; rows < s->rows && spent < 10; rows++) {
        int64_t row = hone_order_row(&spec, rows);

        if (hone_row_read(r, row, tokens, mask, &err) != HONE_OK) {
            fprintf(stderr, "%s\n", err.msg);
            exit(1);
        }
        done += s->length[row];
        if (rows % 4096 == 0)
            spent = now_s() - start;
    }
    spent = now_s() - start;
    printf("%s: %lld rows, %lld tokens, %.0f MB/s of tokens (%u bytes each), "
           "%.1f us a row\n", shuffle ? "shuffled" : "in order",
           (long long)rows, (long long)done,
           1e-6 * (double)done * s->shard.head->token_bytes / spent,
           s->shard.head->token_bytes, 1e6 * spent / (double)rows);
}

int main(int argc, char **argv)
{
    hone_arena a = { 0 };
    hone_split s = { 0 };
    hone_row_reader *r;
    void *memory;
    int32_t *tokens;
    uint8_t *mask;
    hone_err err;

    if (argc < 2)
        return 2;
    if (hone_shard_open(&s.shard, &a, argv[1], &err) != HONE_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    s.rows = (int64_t)s.shard.head->rows;
    s.length = s.shard.length;
    memory = aligned_alloc(64, (size_t)hone_row_reader_bytes(&s.shard));
    tokens = malloc((size_t)s.shard.max_length * sizeof *tokens);
    mask = malloc((size_t)s.shard.max_length);
    if (hone_row_reader_open(&r, &s.shard, memory, &err) != HONE_OK)
        return 1;
    for (int times = argc > 2 ? atoi(argv[2]) : 1; times > 0; times--)
        for (int shuffle = 0; shuffle < 2; shuffle++)
            pass(&s, shuffle, r, tokens, mask);
    free(memory);
    free(tokens);
    free(mask);
    hone_shard_close(&s.shard);
    hone_arena_free(&a);
    return 0;
}
