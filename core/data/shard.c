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

_Static_assert(sizeof(hone_shard_head) == 216, "datasets/FORMAT.md");
_Static_assert(sizeof(hone_shard_frame) == 24, "datasets/FORMAT.md");
_Static_assert(sizeof(hone_origin_head) == 32, "datasets/FORMAT.md");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "shards are read in place");

#define CURE "; delete the file, it is prepared again"

static hone_status damaged(const hone_shard *s, const char *what,
                           hone_err *err)
{
    return hone_fail(err, HONE_EINVAL, "%s: %s" CURE, s->path, what);
}

/* ---------------------------------------------------------------- opening */

/* Rows that the index has the first token of. */
static uint64_t starts(const hone_shard_head *h)
{
    return (h->rows + HONE_ROW_STRIDE - 1) / HONE_ROW_STRIDE;
}

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
    index_bytes = h->frames * sizeof(hone_shard_frame) +
                  starts(h) * sizeof(uint64_t) + h->rows * 8;
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
    at += starts(h) * sizeof *s->start;
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

        if (n < 1 || s->targets[i] < 0 || s->targets[i] >= n ||
            (i % HONE_ROW_STRIDE == 0 &&
             s->start[i / HONE_ROW_STRIDE] != tokens))
            return damaged(s, "its index of rows makes no sense", err);
        tokens += (uint64_t)n;
        s->squares += (double)n * n;
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

/* PATH in memory; at least LEAST bytes of it. */
static hone_status map_file(const char *path, size_t least, int *fd, void **map,
                            size_t *bytes, hone_err *err)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &st))
        return hone_fail(err, HONE_EIO, "%s: %s", path, strerror(errno));
    if (st.st_size < (off_t)least)
        return hone_fail(err, HONE_EINVAL, "%s: it is cut short" CURE, path);
    *bytes = (size_t)st.st_size;
    *map = mmap(NULL, *bytes, PROT_READ, MAP_SHARED, *fd, 0);
    if (*map != MAP_FAILED)
        return HONE_OK;
    *map = NULL;
    return hone_fail(err, HONE_EIO, "%s: %s", path, strerror(errno));
}

/* Where the rows came from is in the file beside. */
static hone_status open_origins(hone_shard *s, hone_arena *a, hone_err *err)
{
    int bare = (int)strlen(s->path) - (int)strlen(".shard");
    const char *path = hone_format_text(a, "%.*s.rows", bare > 0 ? bare : 0,
                                        s->path);
    const hone_origin_head *h;
    int fd;
    hone_status status = map_file(path, sizeof *h, &fd, &s->rows_map,
                                  &s->rows_bytes, err);

    if (fd >= 0)
        close(fd);
    hone_try(status);
    h = s->rows_map;
    s->origin = (const void *)(h + 1);
    if (memcmp(h->magic, "HONEROWS", 8) || h->rows != s->head->rows ||
        h->index_hash != s->head->index_hash ||
        s->rows_bytes != sizeof *h + h->rows * sizeof *s->origin ||
        h->hash != XXH64(s->origin, h->rows * sizeof *s->origin, 0))
        return hone_fail(err, HONE_EINVAL, "%s: it is damaged, or another "
                         "shard's" CURE, path);
    return HONE_OK;
}

static hone_status open_checked(hone_shard *s, hone_arena *a, hone_err *err)
{
    hone_try(map_file(s->path, sizeof *s->head, &s->fd, &s->map, &s->map_bytes,
                      err));
    s->head = s->map;
    hone_try(check_head(s, err));
    place_index(s);
    if (s->head->index_hash != XXH64(s->frame, s->head->index_bytes, 0))
        return damaged(s, "its index is damaged", err);
    hone_try(check_frames(s, err));
    hone_try(check_rows(s, err));
    return open_origins(s, a, err);
}

hone_status hone_shard_open(hone_shard *s, hone_arena *a, const char *path,
                            hone_err *err)
{
    hone_status status;

    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->path = hone_text(a, path);
    status = open_checked(s, a, err);
    if (status != HONE_OK)
        hone_shard_close(s);
    return status;
}

void hone_shard_close(hone_shard *s)
{
    if (s->map)
        munmap(s->map, s->map_bytes);
    if (s->rows_map)
        munmap(s->rows_map, s->rows_bytes);
    if (s->fd >= 0)
        close(s->fd);
    s->map = s->rows_map = NULL;
    s->fd = -1;
}

uint64_t hone_shard_start(const hone_shard *s, int64_t row)
{
    int64_t i = row - row % HONE_ROW_STRIDE;
    uint64_t start = s->start[i / HONE_ROW_STRIDE];

    for (; i < row; i++)
        start += (uint64_t)s->length[i];
    return start;
}

/* ----------------------------------------------------------------- frames */

/* The row that holds token TOKEN. */
static uint64_t row_at(const hone_shard *s, uint64_t token)
{
    uint64_t lo = 0, hi = s->head->rows;

    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (hone_shard_start(s, (int64_t)mid) <= token)
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

/* What was read of the file last: one frame, or where frames have been read
 * one behind the other, some more of them. */
typedef struct {
    uint8_t *data; /* [window_bytes()] */
    uint64_t from, have;
    uint64_t next, run; /* behind the last frame; how many were in order */
} window;

enum { READ_AHEAD = 64 << 10, ORDERLY = 8 };

static uint64_t window_bytes(const hone_shard *s)
{
    return s->max_bytes > READ_AHEAD ? s->max_bytes : READ_AHEAD;
}

static hone_status fill_window(const hone_shard *s, window *w, uint64_t i,
                               hone_err *err)
{
    const hone_shard_frame *f = &s->frame[i];
    uint64_t left = s->head->index_at - f->at;
    uint64_t want = w->run >= ORDERLY ? window_bytes(s) : f->bytes;

    w->from = f->at;
    w->have = 0;
    want = want < left ? want : left;
    while (w->have < f->bytes) {
        ssize_t n = pread(s->fd, w->data + w->have, want - w->have,
                          (off_t)(w->from + w->have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hone_fail(err, HONE_EIO, "%s: frame %llu: %s", s->path,
                             (unsigned long long)i + 1, strerror(errno));
        if (n == 0)
            return bad_frame(s, i, "the file ends before it", err);
        w->have += (uint64_t)n;
    }
    return HONE_OK;
}

/* Frame I as it is in the file, its hash checked. */
static hone_status read_frame(const hone_shard *s, window *w, uint64_t i,
                              const uint8_t **packed, hone_err *err)
{
    const hone_shard_frame *f = &s->frame[i];

    w->run = i == w->next ? w->run + 1 : 0;
    if (f->at < w->from || f->at + f->bytes > w->from + w->have)
        hone_try(fill_window(s, w, i, err));
    w->next = i + 1;
    *packed = w->data + (f->at - w->from);
    if (XXH64(*packed, f->bytes, 0) != f->hash)
        return bad_frame(s, i, "its checksum differs", err);
    return HONE_OK;
}

hone_status hone_shard_verify(const hone_shard *s, hone_err *err)
{
    hone_arena a = { 0 };
    window w = { .data = hone_alloc(&a, window_bytes(s)) };
    hone_status status = HONE_OK;
    const uint8_t *packed;

    for (uint64_t i = 0; i < s->head->frames && status == HONE_OK; i++)
        status = read_frame(s, &w, i, &packed, err);
    hone_arena_free(&a);
    return status;
}

/* --------------------------------------------------------- rows by frames */

/* Frame i is kept in one of the slots of set i % sets: where there are as many
 * slots as frames, each is unpacked once. */
enum { WAYS = 8 };

/* An unpacked frame, as it is in the file. */
typedef struct {
    int64_t frame; /* -1: empty */
    uint64_t used; /* when it was wanted last */
} slot;

struct hone_row_reader {
    const hone_shard *shard;
    ZSTD_DCtx *zstd;
    window window;
    uint8_t *raw;
    uint64_t now;
    int64_t sets, slot_bytes;
    slot *slot; /* [sets * WAYS] */
};

static int64_t up64(int64_t n)
{
    return (n + 63) / 64 * 64;
}

static int64_t sets_for(const hone_shard *s)
{
    int64_t all = ((int64_t)s->head->frames + WAYS - 1) / WAYS;
    int64_t most = HONE_READER_BYTES / WAYS / up64(s->max_raw + 1);

    most = most > 1 ? most : 1;
    return all < 1 ? 1 : all < most ? all : most;
}

int64_t hone_row_reader_bytes(const hone_shard *s)
{
    int64_t slots = sets_for(s) * WAYS;

    return up64(sizeof(hone_row_reader)) +
           up64((int64_t)ZSTD_estimateDCtxSize()) +
           up64((int64_t)window_bytes(s)) +
           up64(slots * (int64_t)sizeof(slot)) + slots * up64(s->max_raw);
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
    r->window.data = take(&at, (int64_t)window_bytes(s));
    r->sets = sets_for(s);
    r->slot_bytes = up64(s->max_raw);
    r->slot = take(&at, r->sets * WAYS * (int64_t)sizeof(slot));
    for (int64_t i = 0; i < r->sets * WAYS; i++)
        r->slot[i] = (slot){ -1, 0 };
    r->raw = at;
    *out = r;
    return HONE_OK;
}

static uint32_t largest_token(const uint8_t *raw, uint32_t width, uint32_t n)
{
    const uint16_t *narrow = (const void *)raw;
    const uint32_t *wide = (const void *)raw;
    uint32_t most = 0;

    if (width == 4) {
        for (uint32_t i = 0; i < n; i++)
            most = wide[i] > most ? wide[i] : most;
        return most;
    }
    for (uint32_t i = 0; i < n; i++)
        most = narrow[i] > most ? narrow[i] : most;
    return most;
}

/* The mask is stored as lengths of runs, the first of tokens that are no
 * targets. They must cover N tokens. */
static int runs_fit(const uint8_t *runs, uint32_t bytes, uint32_t n)
{
    uint32_t at = 0;

    if (bytes % 2)
        return 0;
    for (uint32_t i = 0; i < bytes / 2; i++) {
        uint16_t run;

        memcpy(&run, runs + 2 * i, 2);
        if (run > n - at || (i && !run))
            return 0;
        at += run;
    }
    return at == n;
}

static hone_status load_frame(hone_row_reader *r, uint64_t i, uint8_t *raw,
                              hone_err *err)
{
    const hone_shard *s = r->shard;
    const hone_shard_frame *f = &s->frame[i];
    uint32_t n = frame_count(s, i), width = s->head->token_bytes;
    const uint8_t *packed;
    size_t got;

    hone_try(read_frame(s, &r->window, i, &packed, err));
    got = ZSTD_decompressDCtx(r->zstd, raw, f->raw_bytes, packed, f->bytes);
    if (ZSTD_isError(got) || got != f->raw_bytes)
        return bad_frame(s, i, "it does not unpack", err);
    if (largest_token(raw, width, n) >= s->head->vocab)
        return bad_frame(s, i, "a token is outside the vocabulary", err);
    if (!runs_fit(raw + (size_t)n * width, f->raw_bytes - n * width, n))
        return bad_frame(s, i, "its mask makes no sense", err);
    return HONE_OK;
}

/* Frame I, unpacked: where it is already, or in place of the one of its set
 * that nobody has wanted for longest. */
static hone_status find_frame(hone_row_reader *r, uint64_t i,
                              const uint8_t **raw, hone_err *err)
{
    int64_t first = (int64_t)(i % (uint64_t)r->sets) * WAYS, oldest = first, k;
    uint8_t *to;

    for (k = first; k < first + WAYS && r->slot[k].frame != (int64_t)i; k++)
        if (r->slot[k].used < r->slot[oldest].used)
            oldest = k;
    if (k == first + WAYS)
        k = oldest;
    to = r->raw + k * r->slot_bytes;
    *raw = to;
    r->slot[k].used = ++r->now;
    if (r->slot[k].frame == (int64_t)i)
        return HONE_OK;
    r->slot[k].frame = -1;
    hone_try(load_frame(r, i, to, err));
    r->slot[k].frame = (int64_t)i;
    return HONE_OK;
}

/* Tokens FROM to FROM + N - 1 of an unpacked frame. */
static void copy_tokens(const uint8_t *raw, uint32_t width, uint64_t from,
                        uint64_t n, int32_t *to)
{
    const uint16_t *narrow = (const uint16_t *)(const void *)raw + from;

    if (width == 4) {
        memcpy(to, raw + 4 * from, 4 * n);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        to[i] = narrow[i];
}

static void copy_mask(const uint8_t *runs, uint64_t from, uint64_t n,
                      uint8_t *to)
{
    uint64_t at = 0, done = 0;

    for (uint32_t i = 0; done < n; i++) {
        uint64_t begin = at > from ? at : from;
        uint16_t run;

        memcpy(&run, runs + 2 * i, 2);
        at += run;
        if (at <= begin)
            continue;
        run = (uint16_t)(at - begin < n - done ? at - begin : n - done);
        memset(to + done, i % 2, run);
        done += run;
    }
}

void hone_row_expect(hone_row_reader *r, int64_t row)
{
    const hone_shard *s = r->shard;
    uint64_t at = hone_shard_start(s, row);
    uint64_t first = at / s->head->frame_tokens;
    uint64_t last = (at + (uint64_t)s->length[row] - 1) / s->head->frame_tokens;
    uint64_t end = s->frame[last].at + s->frame[last].bytes;
    int64_t set = (int64_t)(first % (uint64_t)r->sets) * WAYS;

    for (int64_t k = set; first == last && k < set + WAYS; k++)
        if (r->slot[k].frame == (int64_t)first)
            return;
    if (end > s->frame[first].at)
        posix_fadvise(s->fd, (off_t)s->frame[first].at,
                      (off_t)(end - s->frame[first].at), POSIX_FADV_WILLNEED);
}

hone_status hone_row_read(hone_row_reader *r, int64_t row, int32_t *tokens,
                          uint8_t *mask, hone_err *err)
{
    const hone_shard *s = r->shard;
    uint64_t at = hone_shard_start(s, row), left = (uint64_t)s->length[row];
    uint32_t width = s->head->token_bytes;

    while (left > 0) {
        uint64_t i = at / s->head->frame_tokens;
        uint64_t from = at % s->head->frame_tokens;
        uint64_t n = s->head->frame_tokens - from;
        const uint8_t *raw;

        if (n > left)
            n = left;
        hone_try(find_frame(r, i, &raw, err));
        copy_tokens(raw, width, from, n, tokens);
        copy_mask(raw + (uint64_t)frame_count(s, i) * width, from, n, mask);
        tokens += n;
        mask += n;
        at += n;
        left -= n;
    }
    return HONE_OK;
}
