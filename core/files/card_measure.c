/* SPDX-License-Identifier: MIT
 *
 * card_measure.c -- see card_measure.h. Everything is timed by probe.c, the
 * same that `hone kernels bench` takes its limits from.
 */
#include "card_measure.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

typedef struct {
    hone_card *card;
    const hone_bench *b;
    const char *device;
    hone_err *err;
} meter;

static void set(const meter *m, hone_card_figure f, double value)
{
    m->card->figure[f] = (hone_figure){ value, 1 };
}

static void add_point(hone_curve *c, double work, double rate)
{
    if (!c->measured)
        c->points = 0;
    c->measured = 1;
    c->work[c->points] = work;
    c->rate[c->points++] = rate;
}

/* A probe that no pack covers or that does not fit says nothing. */
static hone_status passed(hone_status s)
{
    return s == HONE_ENOSUP || s == HONE_ENOMEM ? HONE_OK : s;
}

/* --------------------------------------------------- kernels: memory, launch */

static hone_status add_of(const meter *m, int64_t bytes, hone_probed *out)
{
    int64_t n = bytes / 3 / (m->b->compute == HONE_F32 ? 4 : 2) / 64 * 64;
    hone_type t = hone_type_of(m->b->compute, 2, n / 64, 64);
    hone_probe p = { .op = "add", .nin = 2, .in = { t, t } };

    return hone_probe_run(m->b, m->device, &p, out, m->err);
}

/* Additions: of a few numbers, and of more than caches hold. */
static hone_status measure_copies(const meter *m)
{
    hone_probed p;
    double launch;

    hone_try(add_of(m, 3 * 64 * 4, &p));
    launch = p.seconds;
    set(m, HONE_CARD_LAUNCH, launch);
    hone_try(add_of(m, (int64_t)(m->b->info->is_host ? 48 : 768) << 20, &p));
    m->card->rate[HONE_CARD_COPY] = (hone_curve){
        .points = 1, .rate = { p.bytes / (p.seconds - launch) }, .measured = 1
    };
    return HONE_OK;
}

/* ---------------------------------------------------------------- products */

/* Large ones for as long as a card needs to be as warm as in a training. */
static const double WARM_S = 0.3;

static hone_status measure_products(const meter *m, hone_card_rate rate,
                                    hone_storage compute)
{
    hone_bench as = *m->b;
    hone_probed p = { .seconds = 0 };

    as.compute = compute;
    for (int64_t side = 256; side <= 8192 && p.seconds < 0.02; side *= 2) {
        double warm = side >= 4096 && !m->b->info->is_host ? WARM_S : 0;
        hone_status s = hone_limits_product(&as, m->device, side, warm, &p,
                                            m->err);

        if (s != HONE_OK)
            return passed(s);
        add_point(&m->card->rate[rate], p.flops,
                  p.flops / fmax(p.seconds -
                                     m->card->figure[HONE_CARD_LAUNCH].value,
                                 0.2 * p.seconds));
    }
    return HONE_OK;
}

/* A row with 32 heads of 128 numbers, 8 of keys. */
static hone_status measure_attention(const meter *m)
{
    enum { HEADS = 32, KEYS = 8, D = 128 };
    const hone_attr attrs[] = { { "heads", HEADS, NULL },
                                { "kv_heads", KEYS, NULL },
                                { "scale", 1 / sqrt(D), NULL } };
    hone_storage s = m->b->compute;
    int64_t rows = m->b->info->is_host ? 512 : 8192;
    hone_type q = hone_type_of(s, 2, rows, HEADS * D);
    hone_type k = hone_type_of(s, 2, rows, KEYS * D);
    hone_type docs = hone_type_of(HONE_I32, 2, 1, 4);
    hone_type lse = hone_type_of(HONE_F32, 2, rows, HEADS);
    hone_probe probe[2] = { { "attention", attrs, 3, 4, { q, k, k, docs },
                              WARM_S },
                            { "attention_grad", attrs, 3, 7,
                              { q, q, k, k, q, lse, docs }, WARM_S } };
    double rate = hone_curve_at(&m->card->rate[s == HONE_BF16 ? HONE_CARD_BF16
                                                              : HONE_CARD_F32],
                                1e30);
    hone_probed p;

    for (int grad = 0; grad < 2; grad++) {
        hone_status status = hone_probe_run(m->b, m->device, &probe[grad], &p,
                                            m->err);

        if (status == HONE_OK)
            set(m, HONE_CARD_ATTENTION + (hone_card_figure)grad,
                hone_card_attention(p.flops / (double)rows, (double)rows, D,
                                    grad) / p.seconds / rate);
        else
            hone_try(passed(status));
    }
    return HONE_OK;
}

/* -------------------------------------------------------------- the link */

enum { SENT = 64 << 20, TIMES = 8 };

typedef struct {
    char *device, *pinned; /* two of SENT each */
    hone_stream stream[2];
} lines;

/* Bytes/s of each direction that is used: bit 0 to the device, bit 1 back. */
static hone_status send(const meter *m, const lines *l, int ways, double *rate)
{
    const hone_device *api = m->b->device;
    double start = hone_now_s();

    for (int i = 0; i < TIMES; i++) {
        if (ways & 1)
            api->copy(m->b->dev, l->device, l->pinned, SENT, HONE_TO_DEVICE,
                      l->stream[0]);
        if (ways & 2)
            api->copy(m->b->dev, l->pinned + SENT, l->device + SENT, SENT,
                      HONE_TO_HOST, l->stream[1]);
    }
    hone_try(api->sync(m->b->dev, l->stream[0], m->err));
    hone_try(api->sync(m->b->dev, l->stream[1], m->err));
    *rate = (double)TIMES * SENT / (hone_now_s() - start);
    return HONE_OK;
}

static hone_status send_all(const meter *m, lines *l)
{
    static const hone_card_figure figure[] = { HONE_CARD_TO_DEVICE,
                                               HONE_CARD_TO_HOST,
                                               HONE_CARD_BOTH };
    const hone_device *api = m->b->device;
    double rate;

    for (int i = 0; i < 2; i++)
        hone_try(api->stream_open(m->b->dev, &l->stream[i], m->err));
    hone_try(api->reserve(m->b->dev, HONE_DEVICE_SPACE, 2 * SENT,
                          (void **)&l->device, m->err));
    hone_try(api->reserve(m->b->dev, HONE_PINNED_SPACE, 2 * SENT,
                          (void **)&l->pinned, m->err));
    memset(l->pinned, 1, 2 * SENT);
    hone_try(send(m, l, 3, &rate)); /* warm */
    for (int i = 0; i < 3; i++) {
        hone_try(send(m, l, i + 1, &rate));
        set(m, figure[i], rate);
    }
    return HONE_OK;
}

static hone_status measure_link(const meter *m)
{
    const hone_device *api = m->b->device;
    lines l = { .device = NULL };
    hone_status s = send_all(m, &l);

    if (l.device)
        api->release(m->b->dev, HONE_DEVICE_SPACE, l.device);
    if (l.pinned)
        api->release(m->b->dev, HONE_PINNED_SPACE, l.pinned);
    for (int i = 0; i < 2; i++)
        if (l.stream[i])
            api->stream_close(m->b->dev, l.stream[i]);
    return passed(s);
}

/* -------------------------------------------------------------- the host */

/* A file of our own, written, forgotten by the cache, and read. */
static void measure_disk(const meter *m, const char *folder)
{
    enum { BYTES = 256 << 20, PIECE = 8 << 20 };
    char path[4096], *piece = malloc(PIECE);
    int64_t left = BYTES;
    double start;
    int fd;

    snprintf(path, sizeof path, "%s/hone-disk-XXXXXX", folder);
    fd = piece ? mkstemp(path) : -1;
    if (fd >= 0)
        unlink(path);
    if (piece)
        memset(piece, 1, PIECE);
    while (fd >= 0 && left > 0 && write(fd, piece, PIECE) == PIECE)
        left -= PIECE;
    if (left == 0 && fdatasync(fd) == 0 &&
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 &&
        lseek(fd, 0, SEEK_SET) == 0) {
        start = hone_now_s();
        while (read(fd, piece, PIECE) == PIECE)
            left += PIECE;
        if (left == BYTES)
            set(m, HONE_CARD_DISK, BYTES / (hone_now_s() - start));
    }
    if (fd >= 0)
        close(fd);
    free(piece);
}

static void measure_host(const meter *m)
{
    double pages = (double)sysconf(_SC_PHYS_PAGES);

    set(m, HONE_CARD_HOST, pages * (double)sysconf(_SC_PAGE_SIZE));
}

/* --------------------------------------------------------------- all of it */

static void round_to(double *x)
{
    double unit = *x > 0 ? pow(10, floor(log10(*x)) - 3) : 1;

    *x = round(*x / unit) * unit;
}

/* Four digits: more are not there. Sizes stay. */
static void round_all(hone_card *c)
{
    for (int i = HONE_CARD_LAUNCH; i < HONE_CARD_FIGURES; i++)
        if (c->figure[i].measured)
            round_to(&c->figure[i].value);
    for (int i = 0; i < HONE_CARD_RATES; i++)
        for (int p = 0; p < c->rate[i].points && c->rate[i].measured; p++) {
            round_to(&c->rate[i].work[p]);
            round_to(&c->rate[i].rate[p]);
        }
}

hone_status hone_card_measure(hone_card *c, const hone_bench *b,
                              const char *device, const char *folder,
                              hone_err *err)
{
    static const struct {
        hone_card_rate rate;
        hone_storage compute;
    } types[] = { { HONE_CARD_BF16, HONE_BF16 }, { HONE_CARD_F16, HONE_F16 },
                  { HONE_CARD_F32, HONE_F32 }, { HONE_CARD_FP8, HONE_FP8 } };
    hone_device_info info = { .size = sizeof info };
    hone_bench as = *b;
    meter m = { c, &as, device, err };

    as.compute = HONE_F32;
    hone_try(measure_copies(&m));
    for (int i = 0; i < 4; i++)
        hone_try(measure_products(&m, types[i].rate, types[i].compute));
    as.compute = c->rate[HONE_CARD_BF16].measured && !b->info->is_host
                     ? HONE_BF16 : HONE_F32;
    hone_try(measure_attention(&m));
    hone_try(measure_link(&m));
    measure_disk(&m, folder);
    measure_host(&m);
    hone_try(b->device->info(b->dev, &info, err));
    set(&m, HONE_CARD_MEMORY, (double)info.total_bytes);
    if (info.context_bytes > 0)
        set(&m, HONE_CARD_CONTEXT, (double)info.context_bytes);
    round_all(c);
    return HONE_OK;
}
