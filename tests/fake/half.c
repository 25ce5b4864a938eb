/* SPDX-License-Identifier: MIT
 *
 * half.c -- what the device `fake` computes in fp16 with, if HONE_FAKE_HALF is
 * set (else "auto" would take fp16 there): the products of the pack fp16, and
 * the ops' own references for what the CPU pack leaves to them. The engine does
 * so itself where a device is the host.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

/* In front of copies of the call's types and modes. */
typedef struct {
    void (*run)(const hone_call *, const hone_ptr *);
    hone_call call;
} reference;

static const hone_op *find_op(const char *name)
{
    const hone_plugin *ops = fake_plugin("ops");

    for (int i = 0; ops && ops->components[i]; i++)
        if (!strcmp(ops->components[i]->name, name))
            return ops->components[i]->ops;
    return NULL;
}

static hone_status prepare(const hone_call *call, int threads, hone_need *need,
                           hone_err *err)
{
    const hone_op *op = find_op(call->op);
    uint32_t n = call->nin + call->nout;

    (void)threads;
    for (uint32_t i = 0; i < n; i++)
        if (hone_parts(call->type[i].storage)[1].bytes)
            return hone_fail(err, HONE_ENOSUP, "fake: %s: codes", call->op);
    if (!op || !op->ref_f32)
        return hone_fail(err, HONE_ENOSUP, "fake: no reference of %s",
                         call->op);
    need->workspace_bytes = 0;
    need->prepared_bytes = (int64_t)(sizeof(reference) +
                                     n * (sizeof(hone_type) + 1));
    return HONE_OK;
}

static hone_status init(const hone_call *call, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    reference *r = prepared;
    uint32_t n = call->nin + call->nout;
    hone_type *type = (hone_type *)(r + 1);
    uint8_t *mode = (uint8_t *)(type + n);

    (void)threads;
    (void)ctx;
    (void)err;
    memcpy(type, call->type, n * sizeof *type);
    memcpy(mode, call->mode, n);
    r->run = find_op(call->op)->ref_f32;
    r->call = *call;
    r->call.type = type;
    r->call.mode = mode;
    return HONE_OK;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const reference *r = prepared;

    (void)workspace;
    (void)stream;
    r->run(&r->call, ptr);
}

const hone_kernel *fake_half_kernels(void)
{
    const hone_plugin *plugin = getenv("HONE_FAKE_HALF") ? fake_plugin("fp16")
                                                         : NULL;
    const hone_pack *pack = plugin ? plugin->components[0]->ops : NULL;

    return pack ? pack->kernels : NULL;
}

const hone_kernel fake_reference = { "reference", prepare, init, run };
