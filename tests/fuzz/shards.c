/* SPDX-License-Identifier: MIT
 *
 * shards.c -- damaged shards: bits flipped, files cut or lengthened, pieces
 * copied over others, bombs. Each is refused with the file's name in the
 * message or read right, row by row; some get their checksums made good again,
 * so that all that is left to catch them are the checks of what the numbers
 * mean: those must not crash, whatever tokens they give.
 *
 * shards COUNT [SEED]: says how many of each were refused and read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "shard.h"
#include "../shards.h"

static char folder[] = "/tmp/hone-fuzz-XXXXXX";
static char path[64], rows_path[64];
static uint8_t *whole, *rows_whole, *now, *rows_now;
static size_t whole_bytes, rows_bytes, now_bytes, rows_now_bytes;
static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static uint8_t *read_all(const char *name, size_t *bytes)
{
    FILE *f = fopen(name, "rb");
    uint8_t *data;

    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    data = malloc(*bytes);
    if (fread(data, 1, *bytes, f) != *bytes)
        abort();
    fclose(f);
    return data;
}

static void write_all(const char *name, const uint8_t *data, size_t bytes)
{
    FILE *f = fopen(name, "wb");

    if (bytes && fwrite(data, 1, bytes, f) != bytes)
        abort();
    fclose(f);
}

/* ----------------------------------------------------------------- damage */

static void flip_bits(void)
{
    for (uint64_t n = 1 + draw(4); n > 0; n--)
        now[draw(now_bytes)] ^= (uint8_t)(1 << draw(8));
}

/* The head and the index are small, and worth more than their share. */
static void flip_numbers(void)
{
    const hone_shard_head *h = (const void *)whole;
    uint64_t at = draw(2) ? draw(sizeof *h)
                          : h->index_at + draw(h->index_bytes);
    static const uint64_t odd[] = { 0, 1, 0xff, 0x7fffffff, 0x80000000,
                                    0xffffffff, UINT64_MAX, (uint64_t)1 << 48 };
    uint64_t value = draw(3) ? odd[draw(8)] : draw(UINT64_MAX);
    size_t n = (size_t)1 << draw(4);

    if (at + n <= now_bytes)
        memcpy(now + at, &value, n);
}

static void cut(void)
{
    now_bytes = draw(now_bytes);
}

static void lengthen(void)
{
    size_t more = 1 + draw(5000);

    memset(now + now_bytes, (int)draw(256), more);
    now_bytes += more;
}

static void copy_over(void)
{
    size_t n = 1 + draw(3000), from = draw(now_bytes - n);

    memmove(now + draw(now_bytes - n), now + from, n);
}

/* A frame of zeros that says it is far larger than the index knows. */
static void bomb(void)
{
    hone_shard_frame *f = (void *)(now + ((hone_shard_head *)now)->index_at);
    size_t big = 16 << 20, cap = f[3].bytes;
    uint8_t *zeros = calloc(1, big), *packed = malloc(ZSTD_compressBound(big));
    size_t n = ZSTD_compress(packed, ZSTD_compressBound(big), zeros, big, 3);

    if (n <= cap) {
        memcpy(now + f[3].at, packed, n);
        f[3].bytes = (uint32_t)n;
        f[3].hash = XXH64(packed, n, 0);
    }
    free(zeros);
    free(packed);
}

static const struct {
    const char *name;
    void (*damage)(void);
} kinds[] = { { "bits flipped", flip_bits },  { "numbers", flip_numbers },
              { "cut", cut },                 { "lengthened", lengthen },
              { "copied over", copy_over },   { "bomb", bomb } };

enum { KINDS = sizeof kinds / sizeof *kinds };

/* The file beside belongs to it too, as far as it has rows. */
static void mend_rows(const hone_shard_head *h)
{
    hone_origin_head *o = (void *)rows_now;

    if (h->rows > ROWS)
        return;
    o->rows = h->rows;
    o->index_hash = h->index_hash;
    o->hash = XXH64(o + 1, o->rows * 8, 0);
    rows_now_bytes = sizeof *o + o->rows * 8;
}

/* Makes every checksum good that can be found. */
static void mend(void)
{
    hone_shard_head *h = (void *)now;
    hone_shard_frame *f;

    if (now_bytes < sizeof *h)
        return;
    if (h->index_at <= now_bytes && h->index_at % 8 == 0 &&
        h->index_bytes <= now_bytes - h->index_at) {
        f = (void *)(now + h->index_at);
        for (uint64_t i = 0; i < h->frames && i < h->index_bytes / sizeof *f;
             i++)
            if (f[i].at <= now_bytes && f[i].bytes <= now_bytes - f[i].at)
                f[i].hash = XXH64(now + f[i].at, f[i].bytes, 0);
        h->index_hash = XXH64(f, h->index_bytes, 0);
    }
    h->head_hash = XXH64(h, offsetof(hone_shard_head, head_hash), 0);
    mend_rows(h);
}

/* ---------------------------------------------------------------- reading */

static int is_right(int64_t row, int32_t length, const int32_t *tokens,
                    const uint8_t *mask)
{
    if (row >= ROWS || length != row_length((int)row))
        return 0;
    for (int i = 0; i < length; i++)
        if (tokens[i] != row_token((int)row, i) ||
            mask[i] != row_mask((int)row, i))
            return 0;
    return 1;
}

/* 1: refused with the name of the file; 0: all rows were read. */
static int refused(hone_status status, const hone_err *err)
{
    if (status == HONE_OK)
        return 0;
    if (strncmp(err->msg, folder, strlen(folder)) != 0) {
        printf("a refusal without the file: %s\n", err->msg);
        exit(1);
    }
    return 1;
}

/* MENDED: other tokens than were written are what was asked for. */
static int read_rows(const hone_shard *s, int mended)
{
    void *memory = aligned_alloc(64, (size_t)hone_row_reader_bytes(s));
    size_t most = (size_t)s->max_length + 1;
    int32_t *tokens = malloc(most * sizeof *tokens);
    uint8_t *mask = malloc(most);
    hone_row_reader *r;
    hone_err err;
    int bad = refused(hone_row_reader_open(&r, s, memory, &err), &err);

    for (int64_t row = 0; !bad && row < (int64_t)s->head->rows; row++) {
        hone_row_expect(r, row);
        if (hone_row_read(r, row, tokens, mask, &err) != HONE_OK)
            bad = refused(err.code, &err);
        else if (!mended && !is_right(row, s->length[row], tokens, mask)) {
            printf("other tokens in row %lld\n", (long long)row + 1);
            exit(1);
        }
    }
    free(memory);
    free(tokens);
    free(mask);
    return bad;
}

static int try_shard(int mended)
{
    hone_arena a = { 0 };
    hone_shard s;
    hone_err err;
    int bad = refused(hone_shard_open(&s, &a, path, &err), &err);

    if (!bad) {
        bad = read_rows(&s, mended);
        if (!mended && !bad && s.head->rows != ROWS) {
            printf("%lld rows\n", (long long)s.head->rows);
            exit(1);
        }
        hone_shard_close(&s);
    }
    hone_arena_free(&a);
    return bad;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 100, said[KINDS][2][2] = { 0 };
    hone_err err;

    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 88172645463325252u;
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/x.shard", folder);
    snprintf(rows_path, sizeof rows_path, "%s/x.rows", folder);
    if (write_rows(path, 49152, 0, &err) != HONE_OK)
        return 1;
    whole = read_all(path, &whole_bytes);
    rows_whole = read_all(rows_path, &rows_bytes);
    now = malloc(whole_bytes + 8192);
    rows_now = malloc(rows_bytes);
    for (int i = 0; i < count; i++) {
        int kind = i % KINDS, mended = i / KINDS % 2;

        memcpy(now, whole, whole_bytes);
        now_bytes = whole_bytes;
        memcpy(rows_now, rows_whole, rows_bytes);
        rows_now_bytes = rows_bytes;
        kinds[kind].damage();
        if (mended)
            mend();
        write_all(path, now, now_bytes);
        if (i % 50 == 49) /* the file beside is damaged */
            rows_now[draw(rows_bytes)] ^= 1;
        write_all(rows_path, rows_now, rows_now_bytes);
        said[kind][mended][try_shard(mended)]++;
    }
    for (int k = 0; k < KINDS; k++)
        printf("%-12s  %d refused, %d read right; checksums made good: %d "
               "refused, %d read\n", kinds[k].name, said[k][0][1],
               said[k][0][0], said[k][1][1], said[k][1][0]);
    unlink(path);
    unlink(rows_path);
    free(now);
    free(rows_now);
    free(whole);
    free(rows_whole);
    return rmdir(folder) != 0;
}
