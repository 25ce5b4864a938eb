/* SPDX-License-Identifier: MIT
 *
 * shard_write.c -- writes a shard: tokens collect in one frame, which is
 * compressed and written when it is full; the index grows in memory and
 * follows the last frame; the head is written last of all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "shard.h"

enum { LEVEL = 3 };

struct hone_shard_writer {
    hone_arena arena;
    const char *path, *part;
    int fd;
    ZSTD_CCtx *zstd;
    hone_shard_head head;
    uint64_t at; /* bytes written */
    /* the open frame */
    uint32_t count;
    int32_t tokens[HONE_FRAME_TOKENS];
    uint8_t mask[HONE_FRAME_TOKENS];
    uint8_t raw[HONE_FRAME_TOKENS * 6 + 2];
    uint8_t *packed;
    size_t packed_cap;
    /* the index */
    hone_shard_frame *frame;
    uint64_t *start, *origin;
    int32_t *length, *targets;
    uint64_t frame_cap, start_cap, origin_cap, length_cap, targets_cap;
};

static hone_status put_at(hone_shard_writer *w, const void *data,
                          uint64_t bytes, uint64_t at, hone_err *err)
{
    const uint8_t *from = data;

    while (bytes > 0) {
        ssize_t n = pwrite(w->fd, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hone_fail(err, HONE_EIO, "%s: %s", w->part,
                             strerror(n < 0 ? errno : ENOSPC));
        from += n;
        at += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return HONE_OK;
}

static hone_status put(hone_shard_writer *w, const void *data, uint64_t bytes,
                       hone_err *err)
{
    hone_try(put_at(w, data, bytes, w->at, err));
    w->at += bytes;
    return HONE_OK;
}

static void hex_bytes(uint8_t *to, size_t n, const char *hex)
{
    for (size_t i = 0; i < n; i++) {
        char two[3] = { hex[2 * i], hex[2 * i + 1], 0 };
        to[i] = (uint8_t)strtoul(two, NULL, 16);
    }
}

hone_status hone_shard_create(hone_shard_writer **out, const char *path,
                              int32_t vocab, const char *tokenizer,
                              hone_err *err)
{
    hone_arena arena = { 0 };
    hone_shard_writer *w = hone_alloc(&arena, sizeof *w);

    w->path = hone_text(&arena, path);
    w->part = hone_format_text(&arena, "%s.%ld.part", path, (long)getpid());
    w->packed_cap = ZSTD_compressBound(sizeof w->raw);
    w->packed = hone_alloc(&arena, w->packed_cap);
    memcpy(w->head.magic, "HONESHRD", 8);
    w->head.version = HONE_SHARD_VERSION;
    w->head.token_bytes = vocab <= 65536 ? 2 : 4;
    w->head.frame_tokens = HONE_FRAME_TOKENS;
    w->head.vocab = (uint32_t)vocab;
    hex_bytes(w->head.tokenizer, sizeof w->head.tokenizer, tokenizer);
    w->at = sizeof w->head;
    w->arena = arena;
    *out = w;
    w->zstd = ZSTD_createCCtx();
    w->fd = open(w->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0 || !w->zstd) {
        hone_fail(err, HONE_EIO, "%s: %s", w->part, strerror(errno));
        hone_shard_discard(w);
        *out = NULL;
        return HONE_EIO;
    }
    return HONE_OK;
}

/* Tokens in their width, then the runs of the mask. Returns the bytes. */
static size_t fill_raw(hone_shard_writer *w)
{
    uint8_t *to = w->raw;
    uint8_t value = 0;
    uint16_t run = 0;

    for (uint32_t i = 0; i < w->count; i++) {
        memcpy(to, &w->tokens[i], w->head.token_bytes);
        to += w->head.token_bytes;
    }
    for (uint32_t i = 0; i <= w->count; i++) {
        if (i < w->count && w->mask[i] == value) {
            run++;
            continue;
        }
        memcpy(to, &run, 2);
        to += 2;
        value = !value;
        run = 1;
    }
    return (size_t)(to - w->raw);
}

static hone_status flush(hone_shard_writer *w, hone_err *err)
{
    hone_shard_frame f = { .at = w->at };
    size_t raw, bytes;

    if (!w->count)
        return HONE_OK;
    raw = fill_raw(w);
    bytes = ZSTD_compressCCtx(w->zstd, w->packed, w->packed_cap, w->raw, raw,
                              LEVEL);
    if (ZSTD_isError(bytes))
        return hone_fail(err, HONE_EIO, "%s: zstd: %s", w->part,
                         ZSTD_getErrorName(bytes));
    f.bytes = (uint32_t)bytes;
    f.raw_bytes = (uint32_t)raw;
    f.hash = XXH64(w->packed, bytes, 0);
    hone_push(&w->arena, w->frame, w->head.frames, w->frame_cap);
    w->frame[w->head.frames++] = f;
    w->count = 0;
    return put(w, w->packed, bytes, err);
}

static void index_row(hone_shard_writer *w, int64_t count, int32_t targets,
                      uint64_t origin)
{
    uint64_t i = w->head.rows++;

    hone_push(&w->arena, w->start, i, w->start_cap);
    hone_push(&w->arena, w->origin, i, w->origin_cap);
    hone_push(&w->arena, w->length, i, w->length_cap);
    hone_push(&w->arena, w->targets, i, w->targets_cap);
    w->start[i] = w->head.tokens;
    w->origin[i] = origin;
    w->length[i] = (int32_t)count;
    w->targets[i] = targets;
    w->head.tokens += (uint64_t)count;
    w->head.targets += (uint64_t)targets;
}

hone_status hone_shard_add(hone_shard_writer *w, const int32_t *tokens,
                           const uint8_t *mask, int64_t count, uint64_t origin,
                           hone_err *err)
{
    int32_t targets = 0;

    for (int64_t i = 0; i < count; i++) {
        w->tokens[w->count] = tokens[i];
        w->mask[w->count++] = mask[i] != 0;
        targets += i > 0 && mask[i];
        if (w->count == HONE_FRAME_TOKENS)
            hone_try(flush(w, err));
    }
    index_row(w, count, targets, origin);
    return HONE_OK;
}

static hone_status put_index(hone_shard_writer *w, hone_err *err)
{
    static const uint8_t zeros[8];
    hone_shard_head *h = &w->head;
    XXH64_state_t *hash = XXH64_createState();
    struct {
        const void *data;
        uint64_t bytes;
    } part[] = { { w->frame, h->frames * sizeof *w->frame },
                 { w->start, h->rows * sizeof *w->start },
                 { w->origin, h->rows * sizeof *w->origin },
                 { w->length, h->rows * sizeof *w->length },
                 { w->targets, h->rows * sizeof *w->targets } };
    hone_status status = put(w, zeros, -w->at % 8, err);

    h->index_at = w->at;
    XXH64_reset(hash, 0);
    for (int i = 0; i < 5 && status == HONE_OK; i++) {
        if (part[i].bytes)
            XXH64_update(hash, part[i].data, part[i].bytes);
        status = put(w, part[i].data, part[i].bytes, err);
    }
    h->index_bytes = w->at - h->index_at;
    h->index_hash = XXH64_digest(hash);
    XXH64_freeState(hash);
    return status;
}

static hone_status finish(hone_shard_writer *w, hone_err *err)
{
    hone_shard_head *h = &w->head;

    hone_try(flush(w, err));
    hone_try(put_index(w, err));
    h->head_hash = XXH64(h, offsetof(hone_shard_head, head_hash), 0);
    hone_try(put_at(w, h, sizeof *h, 0, err));
    if (fsync(w->fd) || rename(w->part, w->path))
        return hone_fail(err, HONE_EIO, "%s: %s", w->path, strerror(errno));
    return HONE_OK;
}

hone_status hone_shard_finish(hone_shard_writer *w,
                              const hone_shard_counts *counts, hone_err *err)
{
    hone_status status;

    w->head.counts = *counts;
    status = finish(w, err);
    hone_shard_discard(w);
    return status;
}

void hone_shard_discard(hone_shard_writer *w)
{
    hone_arena arena;

    if (!w)
        return;
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->part); /* not there any more after finish() */
    }
    ZSTD_freeCCtx(w->zstd);
    arena = w->arena; /* the writer itself lies in it */
    hone_arena_free(&arena);
}
