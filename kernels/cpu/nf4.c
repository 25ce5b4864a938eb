/* SPDX-License-Identifier: MIT
 *
 * nf4.c -- convert from nf4 to f32, by a table of pairs: one for each byte of
 * codes.
 */
#include "cpu.h"


typedef struct {
    int threads;
    hone_storage from;
    int64_t n;
    float pair[256][2];
} conversion;

typedef struct {
    const conversion *c;
    const hone_ptr *x;
    float *y;
} convert_args;

static hone_status convert_prepare(const hone_call *c, int threads,
                                   hone_need *need, hone_err *err)
{
    hone_storage from = c->type[0].storage;

    (void)threads;
    need->prepared_bytes = sizeof(conversion);
    if (c->type[1].storage == HONE_F32 && !cpu_adds(c, 0) && hone_is_nf4(from))
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP, "cpu: convert: from '%s' to '%s' is "
                     "not covered", hone_parts(from)[0].name,
                     hone_parts(c->type[1].storage)[0].name);
}

static hone_status convert_init(const hone_call *c, int threads, void *ctx,
                                void *prepared, hone_err *err)
{
    static const float value[16] = { HONE_NF4_VALUES };
    conversion *p = prepared;

    (void)ctx;
    (void)err;
    p->threads = threads;
    p->from = c->type[0].storage;
    p->n = cpu_count(c, 0);
    for (int i = 0; i < 256; i++) {
        p->pair[i][0] = value[i >> 4];
        p->pair[i][1] = value[i & 15];
    }
    return HONE_OK;
}

/* Blocks of 64; the last may be shorter, and end within a byte. */
static void nf4_range(const void *arg, int64_t first, int64_t last, int part)
{
    const convert_args *k = arg;
    const uint8_t *codes = k->x->part[0];

    (void)part;
    for (int64_t b = first; b < last; b++) {
        int64_t at = b * HONE_NF4_BLOCK;
        int64_t n = cpu_min(HONE_NF4_BLOCK, k->c->n - at);
        float scale = hone_nf4_scale(k->c->from, k->x, b), *y = k->y + at;

        for (int64_t i = 0; i + 1 < n; i += 2) {
            const float *pair = k->c->pair[codes[(at + i) / 2]];
            y[i] = pair[0] * scale;
            y[i + 1] = pair[1] * scale;
        }
        if (n % 2)
            y[n - 1] = k->c->pair[codes[(at + n) / 2]][0] * scale;
    }
}

static void convert_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    const conversion *c = prepared;
    convert_args k = { c, &ptr[0], ptr[1].part[0] };

    (void)workspace;
    (void)stream;
    cpu_for(c->threads, (c->n + HONE_NF4_BLOCK - 1) / HONE_NF4_BLOCK,
            CPU_GRAIN / HONE_NF4_BLOCK, nf4_range, &k);
}

CPU_KERNELS(nf4) = { { "convert", convert_prepare, convert_init, convert_run },
                     { NULL, NULL, NULL, NULL } };
