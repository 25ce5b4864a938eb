/* SPDX-License-Identifier: MIT */
#define KIND HONE_KIND_PACK
#define OPS &pack
#include "hone/plugin.h"
extern const hone_pack pack;
#include "right.h"

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)c;
    (void)threads;
    (void)need;
    (void)err;
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    (void)c;
    (void)threads;
    (void)ctx;
    (void)prepared;
    (void)err;
    return HONE_OK;
}

static const hone_kernel kernels[] = { { "linear", prepare, init, NULL },
                                       { NULL, NULL, NULL, NULL } };

const hone_pack pack = { sizeof pack, "cpu", kernels, 0 };
