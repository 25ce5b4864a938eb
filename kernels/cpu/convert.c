/* SPDX-License-Identifier: MIT
 *
 * convert.c -- convert between fp32, bf16 and fp16: how weights held in half
 * the bytes become operands of an fp32 product.
 */
#include "cpu.h"

#include "storage.h"

enum { STRIP = 1024 }; /* elements that pass through L1 as f32 */

typedef struct {
    int threads;
    hone_storage from, to;
    int64_t n;
} convert;

typedef struct {
    const convert *c;
    const void *x;
    void *y;
} convert_args;

static hone_status convert_prepare(const hone_call *c, int threads,
                                   hone_need *need, hone_err *err)
{
    (void)threads;
    need->prepared_bytes = sizeof(convert);
    if (storage_covers(c->type[0].storage) &&
        storage_covers(c->type[1].storage))
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP,
                     "cpu: convert: from '%s' to '%s' is not covered; fp32, "
                     "bf16 and fp16 are",
                     hone_parts(c->type[0].storage)[0].name,
                     hone_parts(c->type[1].storage)[0].name);
}

static hone_status convert_init(const hone_call *c, int threads, void *ctx,
                                void *prepared, hone_err *err)
{
    convert *v = prepared;

    (void)ctx;
    (void)err;
    v->threads = threads;
    v->from = c->type[0].storage;
    v->to = c->type[1].storage;
    v->n = cpu_count(c, 0);
    return HONE_OK;
}

static void convert_range(const void *arg, int64_t first, int64_t last,
                          int part)
{
    const convert_args *k = arg;
    const convert *c = k->c;
    float strip[STRIP];

    (void)part;
    if (c->to == HONE_F32) {
        storage_load(c->from, k->x, first, last - first, (float *)k->y + first);
        return;
    }
    for (int64_t i = first; i < last; i += STRIP) {
        int64_t n = cpu_min(STRIP, last - i);

        storage_load(c->from, k->x, i, n, strip);
        storage_store(c->to, strip, k->y, i, n);
    }
}

static void convert_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    convert_args k = { prepared, ptr[0].part[0], ptr[1].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(k.c->threads, k.c->n, CPU_GRAIN, convert_range, &k);
}

CPU_KERNELS(convert) = { { "convert", convert_prepare, convert_init,
                           convert_run },
                         { NULL, NULL, NULL, NULL } };
