/* SPDX-License-Identifier: MIT
 *
 * kernels_limits.c -- see kernels_limits.h. Operands are random numbers: a
 * product of zeros runs faster than any other.
 */
#include "kernels_limits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "option.h"
#include "registry.h"
#include "rng.h"

enum { BLOCK = 1 << 20, LEAST = 32 << 20 };

/* Sides of the product, up to the first that takes a while. */
static const int64_t sides[] = { 512, 2048, 8192 };
static const double a_while_s = 0.001;

typedef struct {
    const hone_bench *b;
    hone_stream stream;
    int64_t side, bytes; /* of a square matrix, LEAST at least */
    char *memory;        /* three of them, and the workspace */
    hone_type type[3];
    hone_call call;
    const hone_kernel *product;
    hone_need need;
    void *prepared;
} probe;

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The kernel for a product of large squares that some pack of the device has. */
static void find_product(probe *p, const char *device, hone_arena *a)
{
    static const uint8_t mode[] = { HONE_READ, HONE_READ, HONE_WRITE };
    const hone_component *op = hone_find(HONE_KIND_OP, "linear"), *c;
    void *attrs = hone_alloc(a, (op ? op->config_size : 0) + 1);
    hone_storage *want = hone_alloc(a, 3 * sizeof *want);

    if (!op)
        return;
    hone_option_defaults(op->options, attrs);
    for (int i = 0; i < 3; i++)
        p->type[i] = hone_type_of(p->b->compute, 2, p->side, p->side);
    p->call = (hone_call){ sizeof p->call, "linear", attrs, 2, 1, p->type,
                           mode, p->b->compute, NULL };
    for (int i = 0; !p->product && (c = hone_component_at(i)); i++) {
        const hone_pack *pack = c->ops;

        if (c->kind != HONE_KIND_PACK || strcmp(pack->device, device))
            continue;
        for (const hone_kernel *k = pack->kernels; k->op && !p->product; k++) {
            for (int n = 0; n < 3; n++)
                want[n] = p->b->compute;
            p->need = (hone_need){ .size = sizeof p->need, .want = want };
            if (!strcmp(k->op, "linear") &&
                k->prepare(&p->call, p->b->threads, &p->need, NULL) == HONE_OK)
                p->product = k;
        }
    }
    if (p->product)
        p->prepared = hone_alloc(a, (size_t)p->need.prepared_bytes + 1);
}

/* Numbers from -1 to 1, a block of them repeated. */
static hone_status fill(probe *p, hone_err *err)
{
    const hone_device *api = p->b->device;
    uint16_t *block = malloc(BLOCK);
    int single = p->b->compute == HONE_F32;
    hone_status status;

    if (!block)
        return hone_fail(err, HONE_ENOMEM, "no memory");
    for (int64_t i = 0; i < BLOCK / 2; i++) {
        uint32_t r[4];
        float x;

        hone_rng_draw(1, 0, (uint64_t)i, r);
        x = (float)(2 * hone_rng_unit(r[0]) - 1);
        if (single && i % 2 == 0)
            memcpy(block + i, &x, sizeof x);
        else if (!single) /* sign, exponent of a half to one, fraction */
            block[i] = (uint16_t)((r[0] & 0x8000) |
                                  (p->b->compute == HONE_BF16
                                       ? 0x3f00 | (r[1] & 0x7f)
                                       : 0x3800 | (r[1] & 0x3ff)));
    }
    api->copy(p->b->dev, p->memory, block, BLOCK, HONE_TO_DEVICE, p->stream);
    status = api->sync(p->b->dev, p->stream, err);
    for (int64_t at = BLOCK; at < 2 * p->bytes; at += BLOCK)
        api->copy(p->b->dev, p->memory + at, p->memory, BLOCK, HONE_ON_DEVICE,
                  p->stream);
    free(block);
    return status;
}

static void run_copy(const probe *p)
{
    p->b->device->copy(p->b->dev, p->memory + p->bytes, p->memory, p->bytes,
                       HONE_ON_DEVICE, p->stream);
}

static void run_product(const probe *p)
{
    const hone_ptr ptr[3] = { { { p->memory } },
                              { { p->memory + p->bytes } },
                              { { p->memory + 2 * p->bytes } } };

    p->product->run(p->prepared, ptr, p->memory + 3 * p->bytes, p->stream);
}

/* Seconds of one run, of as many as take some hundredths of a second. */
static hone_status time_of(const probe *p, void (*run)(const probe *),
                           double *seconds, hone_err *err)
{
    int64_t runs = 1;
    double start;

    for (;;) {
        start = now_s();
        for (int64_t i = 0; i < runs; i++)
            run(p);
        hone_try(p->b->device->sync(p->b->dev, p->stream, err));
        *seconds = (now_s() - start) / (double)runs;
        if (*seconds * (double)runs > 0.02 || runs > 10000)
            return HONE_OK;
        runs *= 4;
    }
}

static hone_status measure(probe *p, hone_limits *out, double *seconds,
                           hone_err *err)
{
    double n = (double)p->side;

    hone_try(p->b->device->stream_open(p->b->dev, &p->stream, err));
    hone_try(p->b->device->reserve(p->b->dev, HONE_DEVICE_SPACE,
                                   3 * p->bytes + HONE_ALIGN +
                                       p->need.workspace_bytes,
                                   (void **)&p->memory, err));
    hone_try(fill(p, err));
    hone_try(time_of(p, run_copy, seconds, err));
    out->bytes_per_s = 2 * (double)p->bytes / *seconds;
    if (!p->product)
        return HONE_OK;
    hone_try(p->product->init(&p->call, p->b->threads, p->b->dev, p->prepared,
                              err));
    hone_try(time_of(p, run_product, seconds, err));
    out->flops_per_s = 2 * n * n * n / *seconds;
    return HONE_OK;
}

hone_status hone_limits_measure(const hone_bench *b, const char *device,
                                hone_limits *out, hone_err *err)
{
    hone_status status = HONE_OK;
    double seconds = 0;

    *out = (hone_limits){ 0 };
    for (int i = 0; i < 3 && seconds < a_while_s && status == HONE_OK; i++) {
        probe p = { .b = b, .side = sides[i] };
        hone_arena arena = { 0 };

        p.bytes = hone_part_bytes(b->compute, 0, p.side * p.side);
        p.bytes = p.bytes < LEAST ? LEAST : p.bytes;
        find_product(&p, device, &arena);
        status = measure(&p, out, &seconds, err);
        if (p.memory)
            b->device->release(b->dev, HONE_DEVICE_SPACE, p.memory);
        if (p.stream)
            b->device->stream_close(b->dev, p.stream);
        hone_arena_free(&arena);
    }
    return status == HONE_ENOMEM && out->bytes_per_s > 0 ? HONE_OK : status;
}

double hone_limits_share(const hone_limits *l, double bytes, double flops,
                         double seconds)
{
    double moved = l->bytes_per_s > 0 ? bytes / l->bytes_per_s : 0;
    double counted = l->flops_per_s > 0 ? flops / l->flops_per_s : 0;

    return fmax(moved, counted) / seconds;
}
