/* SPDX-License-Identifier: MIT
 *
 * shard.c -- reads shards: the checks at opening, and rows through a small
 * cache of unpacked frames. The index is mapped; frames are read with pread,
 * so that a file cut short while it is in use is an error and no signal.
 */
#define ZSTD_STATIC_LINKING_ONLY /* contexts in given memory */
#include "shard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

_Static_assert(sizeof(hone_shard_head) == 160, "datasets/FORMAT.md");
_Static_assert(sizeof(hone_shard_frame) == 24, "datasets/FORMAT.md");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "shards are read in place");

enum { ROW_BYTES = 24 }; /* start, origin, length, targets */

#define CURE "; delete the file, it is prepared again"

static hone_status damaged(const hone_shard *s, const char *what,
                           hone_err *err)
{
    return hone_fail(err, HONE_EINVAL, "%s: %s" CURE, s->path, what);
}

/* ---------------------------------------------------------------- opening */

static hone_status check_head(const hone_shard *s, hone_err *err)
{
    const hone_shard_head *h = s->head;
    uint64_t index_bytes;

    if (memcmp(h->magic, "HONESHRD", 8))
        return damaged(s, "not a shard", err);
    if (h->version != HONE_SHARD_VERSION)
        return hone_fail(err, HONE_EINVAL,
                         "%s: shard version %u, this engine reads %d" CURE,
                         s->path, h->version, HONE_SHARD_VERSION);
    if (h->head_hash != XXH64(h, offsetof(hone_shard_head, head_hash), 0))
        return damaged(s, "its head is damaged", err);
    if ((h->token_bytes != 2 && h->token_bytes != 4) || !h->frame_tokens ||
        h->frame_tokens > UINT16_MAX || h->rows > (uint64_t)1 << 40 ||
        h->tokens > (uint64_t)1 << 48 ||
        h->frames != (h->tokens + h->frame_tokens - 1) / h->frame_tokens)
        return damaged(s, "the sizes in its head do not fit together", err);
    index_bytes = h->frames * sizeof(hone_shard_frame) + h->rows * ROW_BYTES;
    if (h->index_bytes != index_bytes || h->index_at % 8 ||
        h->index_at < sizeof *h || h->index_at > s->map_bytes ||
        s->map_bytes - h->index_at != index_bytes)
        return damaged(s, "it is cut short or has bytes to spare", err);
    return HONE_OK;
}

static void place_index(hone_shard *s)
{
    const hone_shard_head *h = s->head;
    const uint8_t *at = (const uint8_t *)s->map + h->index_at;

    s->frame = (const void *)at;
    at += h->frames * sizeof *s->frame;
    s->start = (const void *)at;
    at += h->rows * sizeof *s->start;
    s->origin = (const void *)at;
    at += h->rows * sizeof *s->origin;
    s->length = (const void *)at;
    at += h->rows * sizeof *s->length;
    s->targets = (const void *)at;
}

static uint32_t frame_count(const hone_shard *s, uint64_t frame)
{
    const hone_shard_head *h = s->head;
    uint64_t left = h->tokens - frame * h->frame_tokens;

    return left < h->frame_tokens ? (uint32_t)left : h->frame_tokens;
}

static hone_status check_frames(hone_shard *s, hone_err *err)
{
    const hone_shard_head *h = s->head;

    for (uint64_t i = 0; i < h->frames; i++) {
        const hone_shard_frame *f = &s->frame[i];
        uint64_t n = frame_count(s, i);

        if (f->at < sizeof *h || f->at > h->index_at ||
            f->bytes > h->index_at - f->at ||
            f->raw_bytes <= n * h->token_bytes ||
            f->raw_bytes > n * h->token_bytes + 2 * (n + 1))
            return damaged(s, "its index of frames makes no sense", err);
        if (f->bytes > s->max_bytes)
            s->max_bytes = f->bytes;
        if (f->raw_bytes > s->max_raw)
            s->max_raw = f->raw_bytes;
    }
    return HONE_OK;
}

static hone_status check_rows(hone_shard *s, hone_err *err)
{
    const hone_shard_head *h = s->head;
    uint64_t tokens = 0, targets = 0;

    for (uint64_t i = 0; i < h->rows; i++) {
        int32_t n = s->length[i];

        if (s->start[i] != tokens || n < 1 || s->targets[i] < 0 ||
            s->targets[i] >= n)
            return damaged(s, "its index of rows makes no sense", err);
        tokens += (uint64_t)n;
        targets += (uint64_t)s->targets[i];
        if (n > s->max_length)
            s->max_length = n;
        if (!i || n < s->min_length)
            s->min_length = n;
    }
    if (tokens != h->tokens || targets != h->targets)
        return damaged(s, "its index of rows does not add up", err);
    return HONE_OK;
}

static hone_status map_file(hone_shard *s, hone_err *err)
{
    struct stat st;

    s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st))
        return hone_fail(err, HONE_EIO, "%s: %s", s->path, strerror(errno));
    if (st.st_size < (off_t)sizeof *s->head)
        return damaged(s, "it is cut short", err);
    s->map_bytes = (size_t)st.st_size;
    s->map = mmap(NULL, s->map_bytes, PROT_READ, MAP_SHARED, s->fd, 0);
    if (s->map == MAP_FAILED) {
        s->map = NULL;
        return hone_fail(err, HONE_EIO, "%s: %s", s->path, strerror(errno));
    }
    s->head = s->map;
    return HONE_OK;
}

static hone_status open_checked(hone_shard *s, hone_err *err)
{
    hone_try(map_file(s, err));
    hone_try(check_head(s, err));
    place_index(s);
    if (s->head->index_hash != XXH64(s->frame, s->head->index_bytes, 0))
        return damaged(s, "its index is damaged", err);
    hone_try(check_frames(s, err));
    return check_rows(s, err);
}

hone_status hone_shard_open(hone_shard *s, hone_arena *a, const char *path,
                            hone_err *err)
{
    hone_status status;

    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->path = hone_text(a, path);
    status = open_checked(s, err);
    if (status != HONE_OK)
        hone_shard_close(s);
    return status;
}

void hone_shard_close(hone_shard *s)
{
    if (s->map)
        munmap(s->map, s->map_bytes);
    if (s->fd >= 0)
        close(s->fd);
    s->map = NULL;
    s->fd = -1;
}

/* ----------------------------------------------------------------- frames */

/* The row that holds token TOKEN. */
static uint64_t row_at(const hone_shard *s, uint64_t token)
{
    uint64_t lo = 0, hi = s->head->rows;

    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (s->start[mid] <= token)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static hone_status bad_frame(const hone_shard *s, uint64_t i, const char *what,
                             hone_err *err)
{
    uint64_t first = i * s->head->frame_tokens;

    return hone_fail(err, HONE_EINVAL,
                     "%s: frame %llu of %llu (rows %llu to %llu) is damaged: "
                     "%s" CURE,
                     s->path, (unsigned long long)i + 1,
                     (unsigned long long)s->head->frames,
                     (unsigned long long)row_at(s, first) + 1,
                     (unsigned long long)row_at(
                         s, first + frame_count(s, i) - 1) + 1,
                     what);
}

/* Reads frame I as it is in the file and checks its hash. */
static hone_status read_frame(const hone_shard *s, uint64_t i, uint8_t *to,
                              hone_err *err)
{
    const hone_shard_frame *f = &s->frame[i];
    size_t done = 0;

    while (done < f->bytes) {
        ssize_t n = pread(s->fd, to + done, f->bytes - done,
                          (off_t)(f->at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hone_fail(err, HONE_EIO, "%s: frame %llu: %s", s->path,
                             (unsigned long long)i + 1, strerror(errno));
        if (n == 0)
            return bad_frame(s, i, "the file ends before it", err);
        done += (size_t)n;
    }
    if (XXH64(to, f->bytes, 0) != f->hash)
        return bad_frame(s, i, "its checksum differs", err);
    return HONE_OK;
}

hone_status hone_shard_verify(const hone_shard *s, hone_err *err)
{
    hone_arena a = { 0 };
    uint8_t *buffer = hone_alloc(&a, s->max_bytes + 1);
    hone_status status = HONE_OK;

    for (uint64_t i = 0; i < s->head->frames && status == HONE_OK; i++)
        status = read_frame(s, i, buffer, err);
    hone_arena_free(&a);
    return status;
}

/* --------------------------------------------------------- rows by frames */

enum { MAX_SLOTS = 32 };

/* An unpacked frame: its tokens, then its mask, one byte a token. */
typedef struct {
    int64_t frame; /* -1: empty */
    uint64_t used; /* when it was wanted last */
    uint8_t *raw, *mask;
} slot;

struct hone_row_reader {
    const hone_shard *shard;
    ZSTD_DCtx *zstd;
    uint8_t *packed;
    uint64_t now;
    int slots;
    slot slot[MAX_SLOTS];
};

static int64_t up64(int64_t n)
{
    return (n + 63) / 64 * 64;
}

static int slots_for(const hone_shard *s)
{
    return s->head->frames < MAX_SLOTS ? (int)s->head->frames : MAX_SLOTS;
}

int64_t hone_row_reader_bytes(const hone_shard *s)
{
    return up64(sizeof(hone_row_reader)) +
           up64((int64_t)ZSTD_estimateDCtxSize()) + up64(s->max_bytes) +
           slots_for(s) * (up64(s->max_raw) + up64(s->head->frame_tokens));
}

static void *take(uint8_t **memory, int64_t bytes)
{
    void *p = *memory;

    *memory += up64(bytes);
    return p;
}

hone_status hone_row_reader_open(hone_row_reader **out, const hone_shard *s,
                                 void *memory, hone_err *err)
{
    uint8_t *at = memory;
    size_t zstd_bytes = ZSTD_estimateDCtxSize();
    hone_row_reader *r = take(&at, sizeof *r);

    memset(r, 0, sizeof *r);
    r->shard = s;
    r->zstd = ZSTD_initStaticDCtx(take(&at, (int64_t)zstd_bytes), zstd_bytes);
    if (!r->zstd)
        return hone_fail(err, HONE_EIO, "zstd %s does not unpack in %zu bytes",
                         ZSTD_versionString(), zstd_bytes);
    r->packed = take(&at, s->max_bytes);
    r->slots = slots_for(s);
    for (int i = 0; i < r->slots; i++) {
        r->slot[i].frame = -1;
        r->slot[i].raw = take(&at, s->max_raw);
        r->slot[i].mask = take(&at, s->head->frame_tokens);
    }
    *out = r;
    return HONE_OK;
}

/* The mask is stored as lengths of runs, the first of tokens that are no
 * targets. */
static int unpack_mask(const uint8_t *runs, uint32_t bytes, uint8_t *mask,
                       uint32_t n)
{
    uint32_t at = 0;

    if (bytes % 2)
        return 0;
    for (uint32_t i = 0; i < bytes / 2; i++) {
        uint16_t run;

        memcpy(&run, runs + 2 * i, 2);
        if (run > n - at)
            return 0;
        memset(mask + at, i % 2, run);
        at += run;
    }
    return at == n;
}

static uint32_t token_at(const uint8_t *raw, uint32_t width, uint64_t i)
{
    uint16_t narrow;
    uint32_t wide;

    if (width == 2) {
        memcpy(&narrow, raw + 2 * i, 2);
        return narrow;
    }
    memcpy(&wide, raw + 4 * i, 4);
    return wide;
}

static hone_status load_frame(hone_row_reader *r, slot *to, uint64_t i,
                              hone_err *err)
{
    const hone_shard *s = r->shard;
    const hone_shard_frame *f = &s->frame[i];
    uint32_t n = frame_count(s, i), width = s->head->token_bytes;
    size_t got;

    to->frame = -1;
    hone_try(read_frame(s, i, r->packed, err));
    got = ZSTD_decompressDCtx(r->zstd, to->raw, f->raw_bytes, r->packed,
                              f->bytes);
    if (ZSTD_isError(got) || got != f->raw_bytes)
        return bad_frame(s, i, "it does not unpack", err);
    for (uint32_t k = 0; k < n; k++)
        if (token_at(to->raw, width, k) >= s->head->vocab)
            return bad_frame(s, i, "a token is outside the vocabulary", err);
    if (!unpack_mask(to->raw + (size_t)n * width, f->raw_bytes - n * width,
                     to->mask, n))
        return bad_frame(s, i, "its mask makes no sense", err);
    to->frame = (int64_t)i;
    return HONE_OK;
}

/* Frame I, unpacked: where it is already, or in place of the one that nobody
 * has wanted for longest. */
static hone_status find_frame(hone_row_reader *r, uint64_t i, slot **out,
                              hone_err *err)
{
    slot *oldest = &r->slot[0];

    r->now++;
    for (int k = 0; k < r->slots; k++) {
        *out = &r->slot[k];
        if ((*out)->frame == (int64_t)i) {
            (*out)->used = r->now;
            return HONE_OK;
        }
        if ((*out)->used < oldest->used)
            oldest = *out;
    }
    oldest->used = r->now;
    *out = oldest;
    return load_frame(r, oldest, i, err);
}

hone_status hone_row_read(hone_row_reader *r, int64_t row, int32_t *tokens,
                          uint8_t *mask, hone_err *err)
{
    const hone_shard *s = r->shard;
    uint64_t at = s->start[row], left = (uint64_t)s->length[row];

    while (left > 0) {
        uint64_t from = at % s->head->frame_tokens;
        uint64_t n = s->head->frame_tokens - from;
        slot *f;

        if (n > left)
            n = left;
        hone_try(find_frame(r, at / s->head->frame_tokens, &f, err));
        for (uint64_t i = 0; i < n; i++)
            tokens[i] = (int32_t)token_at(f->raw, s->head->token_bytes,
                                          from + i);
        memcpy(mask, f->mask + from, n);
        tokens += n;
        mask += n;
        at += n;
        left -= n;
    }
    return HONE_OK;
}
