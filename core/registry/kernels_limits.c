/* SPDX-License-Identifier: MIT
 *
 * kernels_limits.c -- see kernels_limits.h.
 */
#include "kernels_limits.h"

#include <math.h>

#include "probe.h"

/* Sides of the product, up to the first that takes a while. */
enum { SIDES = 4 };
static const int64_t sides[SIDES] = { 512, 2048, 4096, 8192 };
static const double a_while_s = 0.001;

typedef struct {
    const hone_bench *b;
    char *memory;
    int64_t bytes; /* of one */
} halves;

static void copy_half(void *self, hone_stream stream)
{
    const halves *h = self;

    h->b->device->copy(h->b->dev, h->memory + h->bytes, h->memory, h->bytes,
                       HONE_ON_DEVICE, stream);
}

hone_status hone_limits_copy(const hone_bench *b, double *bytes_per_s,
                             hone_err *err)
{
    int host = b->info && b->info->is_host;
    halves h = { .b = b, .bytes = (host ? 32 : 128) << 20 };
    hone_stream stream = NULL;
    double seconds = 1;
    hone_status s = b->device->stream_open(b->dev, &stream, err);

    if (s == HONE_OK)
        s = b->device->reserve(b->dev, HONE_DEVICE_SPACE, 2 * h.bytes,
                               (void **)&h.memory, err);
    if (s == HONE_OK)
        s = hone_probe_fill(b, stream, HONE_F32, h.memory, h.bytes, err);
    if (s == HONE_OK)
        s = hone_probe_time(b, stream, copy_half, &h, 0, &seconds, err);
    *bytes_per_s = s == HONE_OK ? 2 * (double)h.bytes / seconds : 0;
    if (h.memory)
        b->device->release(b->dev, HONE_DEVICE_SPACE, h.memory);
    if (stream)
        b->device->stream_close(b->dev, stream);
    return s;
}

hone_status hone_limits_product(const hone_bench *b, const char *device,
                                int64_t side, double least_s,
                                hone_probed *out, hone_err *err)
{
    hone_storage s = b->compute;
    hone_bench as = *b;
    hone_probe p = { .op = "linear", .nin = 2, .least_s = least_s,
                     .in = { hone_type_of(s, 2, side, side),
                             hone_type_of(s, 2, side, side) } };

    as.compute = s == HONE_FP8 ? HONE_BF16 : s;
    return hone_probe_run(&as, device, &p, out, err);
}

hone_status hone_limits_flops(const hone_bench *b, const char *device,
                              double *flops_per_s, hone_err *err)
{
    hone_probed p = { 0 };
    hone_status s;

    *flops_per_s = 0;
    for (int i = 0; i < SIDES && p.seconds < a_while_s; i++) {
        s = hone_limits_product(b, device, sides[i], 0, &p, err);
        if (s == HONE_ENOSUP || (s == HONE_ENOMEM && i > 0))
            return HONE_OK;
        hone_try(s);
        *flops_per_s = p.flops / p.seconds;
    }
    return HONE_OK;
}
