/* SPDX-License-Identifier: MIT
 *
 * shard_write.c -- see shard_write.h. Tokens collect in a pack of some frames,
 * which a worker compresses while the next one fills; packs are written in
 * their order. The head is written last of all.
 */
#include "shard_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "spool.h"

enum {
    PACK_FRAMES = 64,
    PACK_TOKENS = PACK_FRAMES * HONE_FRAME_TOKENS,
    RAW_BYTES = HONE_FRAME_TOKENS * 6 + 2, /* of a frame, at most */
    CHUNK = 2048 /* records read at a time */
};

typedef struct {
    hone_job job;
    uint32_t token_bytes, count, frames;
    ZSTD_CCtx *zstd;
    const char *failed;
    hone_shard_frame frame[PACK_FRAMES]; /* without their places */
    int32_t token[PACK_TOKENS];
    uint8_t mask[PACK_TOKENS];
    uint8_t raw[RAW_BYTES];
    uint8_t *packed;
    size_t packed_cap, packed_bytes;
} pack;

struct hone_shard_writer {
    hone_arena arena;
    hone_workers *workers;
    hone_shard_head head;
    hone_spool file, frames, records;
    const char *rows_path;
    pack **pack; /* [packs]; made when they are needed */
    int packs;
    uint64_t first, next; /* packs on their way: numbers from first to next */
};

/* ------------------------------------------------------------------- packs */

/* Tokens in their width, then the runs of the mask. Returns the bytes. */
static size_t fill_raw(pack *p, uint32_t from, uint32_t count)
{
    uint8_t *to = p->raw;
    uint8_t value = 0;
    uint16_t run = 0;

    for (uint32_t i = from; i < from + count; i++) {
        memcpy(to, &p->token[i], p->token_bytes);
        to += p->token_bytes;
    }
    for (uint32_t i = from; i <= from + count; i++) {
        if (i < from + count && p->mask[i] == value) {
            run++;
            continue;
        }
        memcpy(to, &run, 2);
        to += 2;
        value = !value;
        run = 1;
    }
    return (size_t)(to - p->raw);
}

/* By a worker: all tokens of the pack, the last frame may be short. */
static void compress(hone_job *job, int worker)
{
    pack *p = (pack *)job;

    (void)worker;
    p->packed_bytes = 0;
    p->frames = 0;
    for (uint32_t from = 0; from < p->count; from += HONE_FRAME_TOKENS) {
        uint32_t left = p->count - from;
        size_t raw = fill_raw(p, from, left < HONE_FRAME_TOKENS
                                           ? left : HONE_FRAME_TOKENS);
        uint8_t *to = p->packed + p->packed_bytes;
        size_t bytes = ZSTD_compress2(p->zstd, to,
                                      p->packed_cap - p->packed_bytes, p->raw,
                                      raw);

        if (ZSTD_isError(bytes)) {
            p->failed = ZSTD_getErrorName(bytes);
            return;
        }
        p->frame[p->frames++] = (hone_shard_frame){
            0, (uint32_t)bytes, (uint32_t)raw, XXH64(to, bytes, 0) };
        p->packed_bytes += bytes;
    }
}

/* A frame is small, so that one row can be read alone, and unpacks five times
 * as fast if its literals are not entropy-coded, for a fifth more on the disk:
 * zstd does so for fast strategies with a target length. */
static ZSTD_CCtx *open_zstd(void)
{
    ZSTD_CCtx *zstd = ZSTD_createCCtx();

    ZSTD_CCtx_setParameter(zstd, ZSTD_c_strategy, ZSTD_fast);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_targetLength, 1);
    return zstd;
}

static pack *pack_at(hone_shard_writer *w, uint64_t number)
{
    pack **p = &w->pack[number % (uint64_t)w->packs];

    if (!*p) {
        *p = hone_alloc(&w->arena, sizeof **p);
        (*p)->job.run = compress;
        (*p)->token_bytes = w->head.token_bytes;
        (*p)->packed_cap = PACK_FRAMES * ZSTD_compressBound(RAW_BYTES);
        (*p)->packed = hone_alloc(&w->arena, (*p)->packed_cap);
        (*p)->zstd = open_zstd();
    }
    return *p;
}

/* The oldest pack on its way, to the file. */
static hone_status write_oldest(hone_shard_writer *w, hone_err *err)
{
    pack *p = pack_at(w, w->first);
    uint64_t at = hone_spool_place(&w->file);

    hone_workers_wait(w->workers, &p->job);
    w->first++;
    if (p->failed)
        return hone_fail(err, HONE_EIO, "%s: zstd: %s", w->file.path,
                         p->failed);
    for (uint32_t i = 0; i < p->frames; i++) {
        p->frame[i].at = at;
        at += p->frame[i].bytes;
    }
    w->head.frames += p->frames;
    p->count = 0;
    hone_try(hone_spool_put(&w->frames, p->frame,
                            p->frames * sizeof *p->frame, err));
    return hone_spool_put(&w->file, p->packed, p->packed_bytes, err);
}

/* Hands the open pack to the workers and opens the next. */
static hone_status send_pack(hone_shard_writer *w, hone_err *err)
{
    hone_workers_add(w->workers, &pack_at(w, w->next)->job, 1);
    w->next++;
    if (w->next - w->first == (uint64_t)w->packs)
        return write_oldest(w, err);
    return HONE_OK;
}

/* Writes all but the last N tokens; nothing is on its way afterwards. */
static hone_status settle(hone_shard_writer *w, uint32_t n, hone_err *err)
{
    pack *p = pack_at(w, w->next), *then;
    uint32_t full = p->count - n;

    if (full) {
        p->count = full;
        hone_try(send_pack(w, err)); /* p keeps its tokens */
        then = pack_at(w, w->next);
        memmove(then->token, p->token + full, n * sizeof *p->token);
        memmove(then->mask, p->mask + full, n);
        then->count = n;
    }
    while (w->first < w->next)
        hone_try(write_oldest(w, err));
    return HONE_OK;
}

/* ------------------------------------------------------------------- rows */

uint64_t hone_row_hash(const int32_t *tokens, const uint8_t *mask, int64_t n)
{
    uint64_t seed = XXH64(mask, (size_t)n, 0);

    return XXH64(tokens, (size_t)n * sizeof *tokens, seed);
}

hone_status hone_shard_add(hone_shard_writer *w, const hone_shard_row *row,
                           hone_err *err)
{
    hone_row_record record = { (int32_t)row->count, row->targets, row->origin,
                               row->hash };

    for (int64_t done = 0; done < row->count;) {
        pack *p = pack_at(w, w->next);
        int64_t n = PACK_TOKENS - p->count;

        if (n > row->count - done)
            n = row->count - done;
        memcpy(p->token + p->count, row->tokens + done,
               (size_t)n * sizeof *p->token);
        memcpy(p->mask + p->count, row->mask + done, (size_t)n);
        p->count += (uint32_t)n;
        done += n;
        if (p->count == PACK_TOKENS)
            hone_try(send_pack(w, err));
    }
    w->head.rows++;
    w->head.tokens += (uint64_t)row->count;
    w->head.targets += (uint64_t)row->targets;
    return hone_spool_put(&w->records, &record, sizeof record, err);
}

hone_status hone_shard_records(hone_shard_writer *w, uint64_t first,
                               hone_row_record *to, uint64_t count,
                               hone_err *err)
{
    hone_try(hone_spool_flush(&w->records, err));
    return hone_spool_read(&w->records, to, count * sizeof *to,
                           first * sizeof *to, err);
}

/* -------------------------------------------------------- begin and go on */

static const char *beside(hone_arena *a, const char *path, const char *ending)
{
    return hone_format_text(a, "%.*s%s", (int)(strlen(path) - 6), path,
                            ending); /* without ".shard" */
}

static void hex_bytes(uint8_t *to, size_t n, const char *hex)
{
    for (size_t i = 0; i < n; i++) {
        char two[3] = { hex[2 * i], hex[2 * i + 1], 0 };
        to[i] = (uint8_t)strtoul(two, NULL, 16);
    }
}

static void begin_head(hone_shard_head *h, const hone_shard_spec *spec)
{
    memcpy(h->magic, "HONESHRD", 8);
    h->version = HONE_SHARD_VERSION;
    h->token_bytes = spec->vocab <= 65536 ? 2 : 4;
    h->frame_tokens = HONE_FRAME_TOKENS;
    h->vocab = (uint32_t)spec->vocab;
    hex_bytes(h->tokenizer, sizeof h->tokenizer, spec->tokenizer);
}

static hone_status open_files(hone_shard_writer *w, const char *path,
                              const hone_shard_mark *from, hone_err *err)
{
    hone_arena *a = &w->arena;

    w->rows_path = beside(a, path, ".rows.part");
    hone_try(hone_spool_open(&w->file, beside(a, path, ".shard.part"),
                             from ? from->at : 0, err));
    hone_try(hone_spool_open(&w->frames, beside(a, path, ".frames.part"),
                             from ? from->frames * sizeof(hone_shard_frame)
                                  : 0,
                             err));
    return hone_spool_open(&w->records, beside(a, path, ".records.part"),
                           from ? from->rows * sizeof(hone_row_record) : 0,
                           err);
}

/* The frame that was not full goes on in the open pack. */
static hone_status take_up(hone_shard_writer *w, const hone_shard_mark *from,
                           hone_err *err)
{
    static const hone_shard_head empty;
    pack *p = pack_at(w, 0);

    if (!from)
        return hone_spool_put(&w->file, &empty, sizeof empty, err);
    w->head.rows = from->rows;
    w->head.tokens = from->tokens;
    w->head.targets = from->targets;
    w->head.frames = from->frames;
    p->count = from->open;
    memcpy(p->token, from->token, from->open * sizeof *p->token);
    memcpy(p->mask, from->mask, from->open);
    return HONE_OK;
}

hone_status hone_shard_create(hone_shard_writer **out,
                              const hone_shard_spec *spec,
                              const hone_shard_mark *from, hone_err *err)
{
    hone_arena arena = { 0 };
    hone_shard_writer *w = hone_alloc(&arena, sizeof *w);
    hone_status status;

    w->arena = arena;
    w->workers = spec->workers;
    w->file.fd = w->frames.fd = w->records.fd = -1;
    w->packs = hone_workers_count(spec->workers) + 2;
    w->pack = hone_alloc(&w->arena, sizeof *w->pack * (size_t)w->packs);
    begin_head(&w->head, spec);
    status = open_files(w, spec->path, from, err);
    if (status == HONE_OK)
        status = take_up(w, from, err);
    if (status != HONE_OK) {
        hone_shard_close_writer(w);
        return status;
    }
    *out = w;
    return HONE_OK;
}

hone_status hone_shard_stand(hone_shard_writer *w, hone_shard_mark *mark,
                             hone_err *err)
{
    pack *p = pack_at(w, w->next);

    hone_try(settle(w, p->count % HONE_FRAME_TOKENS, err));
    p = pack_at(w, w->next);
    hone_try(hone_spool_sync(&w->file, err));
    hone_try(hone_spool_sync(&w->frames, err));
    hone_try(hone_spool_sync(&w->records, err));
    mark->at = hone_spool_place(&w->file);
    mark->rows = w->head.rows;
    mark->tokens = w->head.tokens;
    mark->targets = w->head.targets;
    mark->frames = w->head.frames;
    mark->open = p->count;
    memcpy(mark->token, p->token, p->count * sizeof *p->token);
    memcpy(mark->mask, p->mask, p->count);
    return HONE_OK;
}

/* --------------------------------------------------------------- the index */

typedef enum { STARTS, LENGTHS, TARGETS, ORIGINS } column;

/* What a record gives to a column; its bytes. */
static size_t item(const hone_row_record *r, column c, uint64_t row,
                   uint64_t start, uint8_t *to)
{
    if (c == STARTS && row % HONE_ROW_STRIDE)
        return 0;
    switch (c) {
    case STARTS:
        memcpy(to, &start, 8);
        return 8;
    case ORIGINS:
        memcpy(to, &r->origin, 8);
        return 8;
    case LENGTHS:
        memcpy(to, &r->length, 4);
        return 4;
    default:
        memcpy(to, &r->targets, 4);
        return 4;
    }
}

static hone_status put_column(hone_shard_writer *w, hone_spool *to, column c,
                              XXH64_state_t *hash, hone_err *err)
{
    hone_row_record record[CHUNK];
    uint8_t made[CHUNK * 8];
    uint64_t start = 0;

    for (uint64_t row = 0; row < w->head.rows;) {
        uint64_t n = w->head.rows - row < CHUNK ? w->head.rows - row : CHUNK;
        size_t bytes = 0;

        hone_try(hone_shard_records(w, row, record, n, err));
        for (uint64_t i = 0; i < n; i++, row++) {
            bytes += item(&record[i], c, row, start, made + bytes);
            start += (uint64_t)record[i].length;
        }
        XXH64_update(hash, made, bytes);
        hone_try(hone_spool_put(to, made, bytes, err));
    }
    return HONE_OK;
}

static hone_status put_frames(hone_shard_writer *w, XXH64_state_t *hash,
                              hone_err *err)
{
    uint8_t buffer[HONE_SPOOL_BUFFER];
    uint64_t all = w->head.frames * sizeof(hone_shard_frame);

    hone_try(hone_spool_flush(&w->frames, err));
    for (uint64_t at = 0; at < all;) {
        uint64_t n = all - at < sizeof buffer ? all - at : sizeof buffer;

        hone_try(hone_spool_read(&w->frames, buffer, n, at, err));
        XXH64_update(hash, buffer, n);
        hone_try(hone_spool_put(&w->file, buffer, n, err));
        at += n;
    }
    return HONE_OK;
}

static hone_status put_index(hone_shard_writer *w, XXH64_state_t *hash,
                             hone_err *err)
{
    static const uint8_t zeros[8];

    hone_try(hone_spool_put(&w->file, zeros, -hone_spool_place(&w->file) % 8,
                            err));
    w->head.index_at = hone_spool_place(&w->file);
    XXH64_reset(hash, 0);
    hone_try(put_frames(w, hash, err));
    hone_try(put_column(w, &w->file, STARTS, hash, err));
    hone_try(put_column(w, &w->file, LENGTHS, hash, err));
    hone_try(put_column(w, &w->file, TARGETS, hash, err));
    w->head.index_bytes = hone_spool_place(&w->file) - w->head.index_at;
    w->head.index_hash = XXH64_digest(hash);
    return HONE_OK;
}

/* The file of the rows' origins, behind the shard's own index. */
static hone_status put_origins(hone_shard_writer *w, XXH64_state_t *hash,
                               hone_err *err)
{
    hone_origin_head head = { .rows = w->head.rows,
                              .index_hash = w->head.index_hash };
    hone_spool *to = hone_alloc(&w->arena, sizeof *to);
    hone_status status;

    memcpy(head.magic, "HONEROWS", 8);
    status = hone_spool_open(to, w->rows_path, 0, err);
    if (status == HONE_OK)
        status = hone_spool_put(to, &head, sizeof head, err);
    XXH64_reset(hash, 0);
    if (status == HONE_OK)
        status = put_column(w, to, ORIGINS, hash, err);
    head.hash = XXH64_digest(hash);
    if (status == HONE_OK)
        status = hone_spool_sync(to, err);
    if (status == HONE_OK)
        status = hone_spool_put_at(to, &head, sizeof head, 0, err);
    if (status == HONE_OK)
        status = hone_spool_sync(to, err);
    if (to->fd >= 0)
        close(to->fd);
    return status;
}

hone_status hone_shard_seal(hone_shard_writer *w,
                            const hone_shard_counts *counts, hone_err *err)
{
    hone_shard_head *h = &w->head;
    XXH64_state_t *hash = XXH64_createState();
    hone_status status = settle(w, 0, err);

    h->counts = *counts;
    if (status == HONE_OK)
        status = put_index(w, hash, err);
    if (status == HONE_OK)
        status = put_origins(w, hash, err);
    XXH64_freeState(hash);
    hone_try(status);
    h->head_hash = XXH64(h, offsetof(hone_shard_head, head_hash), 0);
    hone_try(hone_spool_flush(&w->file, err));
    hone_try(hone_spool_put_at(&w->file, h, sizeof *h, 0, err));
    return hone_spool_sync(&w->file, err);
}

void hone_shard_close_writer(hone_shard_writer *w)
{
    hone_arena arena;

    if (!w)
        return;
    for (; w->first < w->next; w->first++)
        hone_workers_wait(w->workers, &pack_at(w, w->first)->job);
    for (int i = 0; i < w->packs; i++)
        if (w->pack[i])
            ZSTD_freeCCtx(w->pack[i]->zstd);
    for (int i = 0; i < 3; i++) {
        hone_spool *s[] = { &w->file, &w->frames, &w->records };
        if (s[i]->fd >= 0)
            close(s[i]->fd);
    }
    arena = w->arena; /* the writer itself lies in it */
    hone_arena_free(&arena);
}

/* ------------------------------------------------------------- publishing */

static void remove_all(const char *path, const char *const *ending, int count)
{
    hone_arena a = { 0 };

    for (int i = 0; i < count; i++)
        unlink(beside(&a, path, ending[i]));
    hone_arena_free(&a);
}

/* In the order in which they go: the shard itself is last to get its name. */
static const char *const part[] = { ".frames.part", ".records.part",
                                    ".rows.part", ".shard.part" };

hone_status hone_shard_publish(const char *path, hone_err *err)
{
    hone_arena a = { 0 };
    hone_status status = HONE_OK;

    remove_all(path, part, 2);
    for (int i = 2; i < 4 && status == HONE_OK; i++) {
        const char *from = beside(&a, path, part[i]);
        char *to = hone_text(&a, from);

        to[strlen(to) - strlen(".part")] = '\0';
        if (rename(from, to) && (errno != ENOENT || access(to, F_OK)))
            status = hone_fail(err, HONE_EIO, "%s: %s", to, strerror(errno));
    }
    hone_arena_free(&a);
    return status;
}

void hone_shard_clean(const char *path)
{
    remove_all(path, part, 4);
}
