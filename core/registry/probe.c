/* SPDX-License-Identifier: MIT
 *
 * probe.c -- see probe.h.
 */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "option.h"
#include "registry.h"
#include "rng.h"

enum { BLOCK = 1 << 20, IN_A_GRAPH = 20, OPERANDS = HONE_PROBE_IN +
                                                    HONE_PROBE_OUT };

static const double a_while_s = 0.02;

typedef struct {
    const hone_bench *b;
    hone_call call;
    hone_type type[OPERANDS];
    uint8_t mode[OPERANDS];
    const hone_kernel *kernel;
    hone_need need;
    void *prepared;
    hone_stream stream;
    char *memory, *workspace;
    hone_ptr ptr[OPERANDS + HONE_PROBE_OUT];
} trial;

/* ----------------------------------------------------------------- filling */

/* From -1 to 1; halves have a sign, an exponent of a half to one and a
 * fraction; codes are no NaN. */
static void draw_block(hone_storage storage, uint16_t *block)
{
    for (int64_t i = 0; i < BLOCK / 2; i++) {
        uint32_t r[4];
        float x;

        hone_rng_draw(1, 0, (uint64_t)i, r);
        x = (float)(2 * hone_rng_unit(r[0]) - 1);
        if (storage == HONE_F32 && i % 2 == 0)
            memcpy(block + i, &x, sizeof x);
        else if (storage == HONE_BF16)
            block[i] = (uint16_t)((r[0] & 0x8000) | 0x3f00 | (r[1] & 0x7f));
        else if (storage == HONE_F16)
            block[i] = (uint16_t)((r[0] & 0x8000) | 0x3800 | (r[1] & 0x3ff));
        else if (storage != HONE_F32)
            block[i] = (uint16_t)(r[0] & 0xb6b6);
    }
}

hone_status hone_probe_fill(const hone_bench *b, hone_stream stream,
                            hone_storage storage, void *device, int64_t bytes,
                            hone_err *err)
{
    const hone_device *api = b->device;
    uint16_t *block = malloc(BLOCK);
    int64_t there = bytes < BLOCK ? bytes : BLOCK;
    hone_status status;

    if (!block)
        return hone_fail(err, HONE_ENOMEM, "no memory");
    draw_block(storage, block);
    api->copy(b->dev, device, block, there, HONE_TO_DEVICE, stream);
    status = api->sync(b->dev, stream, err);
    for (; there < bytes; there *= 2)
        api->copy(b->dev, (char *)device + there, device,
                  there < bytes - there ? there : bytes - there,
                  HONE_ON_DEVICE, stream);
    free(block);
    return status;
}

/* ------------------------------------------------------------------ timing */

typedef struct {
    const hone_bench *b;
    hone_stream stream;
    void (*work)(void *self, hone_stream);
    void *self;
    double least_s;
    hone_graph_exec graph; /* NULL: runs by themselves */
} runs;

static hone_status capture(runs *r, hone_err *err)
{
    const hone_device *api = r->b->device;

    r->work(r->self, r->stream); /* what is loaded when it first runs */
    hone_try(api->sync(r->b->dev, r->stream, err));
    if (!r->b->can_capture)
        return HONE_OK;
    hone_try(api->capture(r->b->dev, r->stream, err));
    for (int i = 0; i < IN_A_GRAPH; i++)
        r->work(r->self, r->stream);
    return api->capture_end(r->b->dev, r->stream, &r->graph, err);
}

static hone_status time_runs(const runs *r, double *seconds, hone_err *err)
{
    const hone_device *api = r->b->device;
    int64_t each = r->graph ? IN_A_GRAPH : 1;

    for (int64_t times = 1;; times *= 3) {
        double start = hone_now_s(), took;

        for (int64_t i = 0; i < times; i++)
            if (r->graph)
                api->launch(r->b->dev, r->graph, r->stream);
            else
                r->work(r->self, r->stream);
        hone_try(api->sync(r->b->dev, r->stream, err));
        took = hone_now_s() - start;
        *seconds = took / (double)(times * each);
        if (took > r->least_s || times > 100000)
            return HONE_OK;
    }
}

hone_status hone_probe_time(const hone_bench *b, hone_stream stream,
                            void (*work)(void *self, hone_stream), void *self,
                            double least_s, double *seconds, hone_err *err)
{
    runs r = { b, stream, work, self, least_s > 0 ? least_s : a_while_s,
               NULL };
    hone_status status = capture(&r, err);

    if (status == HONE_OK)
        status = time_runs(&r, seconds, err);
    if (r.graph)
        b->device->graph_close(b->dev, r.graph);
    return status;
}

/* -------------------------------------------------------------- one call */

static hone_status set_attrs(const hone_probe *p, const hone_component *op,
                             void *attrs, hone_err *err)
{
    hone_option_defaults(op->options, attrs);
    for (uint32_t i = 0; i < p->nattrs; i++) {
        const hone_option *o = hone_option_find(op->options, p->attrs[i].name);

        if (o)
            hone_try(hone_option_set_num(o, attrs, p->attrs[i].num,
                                         o->type == HONE_INT, err));
    }
    return HONE_OK;
}

static hone_status make_call(trial *t, const hone_probe *p, hone_arena *a,
                             hone_err *err)
{
    const hone_component *c;
    const hone_op *op;
    void *attrs;

    hone_try(hone_need_component(HONE_KIND_OP, p->op, &c, err));
    attrs = hone_alloc(a, c->config_size + 1);
    hone_try(set_attrs(p, c, attrs, err));
    op = c->ops;
    t->call = (hone_call){ sizeof t->call, c->name, attrs, p->nin, 0, t->type,
                           t->mode, t->b->compute, t->b->info };
    memcpy(t->type, p->in, p->nin * sizeof *t->type);
    while (op->out[t->call.nout].name && t->call.nout < HONE_PROBE_OUT)
        t->call.nout++;
    memset(t->mode, HONE_READ, p->nin);
    memset(t->mode + p->nin, HONE_WRITE, t->call.nout);
    return op->shape(&t->call, t->type + p->nin, err);
}

/* A kernel that takes all operands as they are. */
static int covers(trial *t, const hone_kernel *k, hone_storage *want)
{
    uint32_t n = t->call.nin + t->call.nout;

    for (uint32_t i = 0; i < n; i++)
        want[i] = t->type[i].storage;
    t->need = (hone_need){ .size = sizeof t->need, .want = want };
    if (strcmp(k->op, t->call.op) ||
        k->prepare(&t->call, t->b->threads, &t->need, NULL) != HONE_OK)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (want[i] != t->type[i].storage)
            return 0;
    return 1;
}

static hone_status find_kernel(trial *t, const char *device, hone_arena *a,
                               hone_err *err)
{
    hone_storage *want = hone_alloc(a, OPERANDS * sizeof *want);
    const hone_component *c;

    for (int i = 0; !t->kernel && (c = hone_component_at(i)); i++) {
        const hone_pack *pack = c->ops;

        if (c->kind != HONE_KIND_PACK || strcmp(pack->device, device))
            continue;
        for (const hone_kernel *k = pack->kernels; k->op && !t->kernel; k++)
            if (covers(t, k, want))
                t->kernel = k;
    }
    if (!t->kernel)
        return hone_fail(err, HONE_ENOSUP, "no pack for %s covers %s", device,
                         t->call.op);
    t->prepared = hone_alloc(a, (size_t)t->need.prepared_bytes + 1);
    return HONE_OK;
}

/* Of a part, up to where the next begins. */
static int64_t room_of(const hone_type *t, int part)
{
    return (hone_type_bytes(t, part) + HONE_ALIGN - 1) /
           HONE_ALIGN * HONE_ALIGN;
}

static int64_t room_of_all(const hone_type *t)
{
    int64_t sum = 0;

    for (int p = 0; p < HONE_PARTS; p++)
        sum += room_of(t, p);
    return sum;
}

static hone_status take_memory(trial *t, int64_t bytes, hone_err *err)
{
    const hone_bench *b = t->b;

    if (!b->scratch)
        return b->device->reserve(b->dev, HONE_DEVICE_SPACE, bytes,
                                  (void **)&t->memory, err);
    if (bytes > b->scratch_bytes)
        return hone_fail(err, HONE_ENOMEM, "%s: too few bytes", t->call.op);
    t->memory = b->scratch;
    return HONE_OK;
}

/* Operands end to end, each filled, and the workspace behind them. */
static hone_status lay_out(trial *t, hone_err *err)
{
    const hone_bench *b = t->b;
    uint32_t n = t->call.nin + t->call.nout;
    int32_t docs[4] = { 0, (int32_t)t->type[0].dim[0], 0,
                        (int32_t)t->type[0].dim[0] };
    int64_t total = 0;
    char *at;

    for (uint32_t i = 0; i < n; i++)
        total += room_of_all(&t->type[i]);
    hone_try(b->device->stream_open(b->dev, &t->stream, err));
    hone_try(take_memory(t, total + t->need.workspace_bytes + HONE_ALIGN, err));
    t->workspace = t->memory + total;
    at = t->memory;
    for (uint32_t i = 0; i < n; i++) {
        hone_storage s = t->type[i].storage;

        if (s == HONE_I32)
            b->device->copy(b->dev, at, docs, sizeof docs, HONE_TO_DEVICE,
                            t->stream);
        else
            hone_try(hone_probe_fill(b, t->stream, s, at,
                                     room_of_all(&t->type[i]), err));
        for (int p = 0; p < HONE_PARTS && hone_parts(s)[p].bytes; p++) {
            t->ptr[i].part[p] = at;
            at += room_of(&t->type[i], p);
        }
    }
    for (uint32_t i = 0; i < t->call.nout; i++)
        t->ptr[n + i] = t->ptr[t->call.nin + i];
    return b->device->sync(b->dev, t->stream, err);
}

static void run_once(void *self, hone_stream stream)
{
    trial *t = self;

    t->kernel->run(t->prepared, t->ptr, t->workspace, stream);
}

static hone_status run_trial(trial *t, double least_s, hone_probed *out,
                             hone_err *err)
{
    const hone_component *c = hone_find(HONE_KIND_OP, t->call.op);
    const hone_op *op = c->ops;

    hone_try(lay_out(t, err));
    if (t->kernel->init)
        hone_try(t->kernel->init(&t->call, t->b->threads, t->b->dev,
                                 t->prepared, err));
    hone_try(hone_probe_time(t->b, t->stream, run_once, t, least_s,
                             &out->seconds, err));
    out->flops = op->flops ? op->flops(&t->call)
                           : (double)hone_count(&t->type[t->call.nin]);
    out->bytes = 0;
    for (uint32_t i = 0; i < t->call.nin + t->call.nout; i++)
        for (int p = 0; p < HONE_PARTS; p++)
            out->bytes += (double)hone_type_bytes(&t->type[i], p);
    return HONE_OK;
}

hone_status hone_probe_run(const hone_bench *b, const char *device,
                           const hone_probe *p, hone_probed *out,
                           hone_err *err)
{
    trial t = { .b = b };
    hone_arena a = { 0 };
    hone_status status = make_call(&t, p, &a, err);

    if (status == HONE_OK)
        status = find_kernel(&t, device, &a, err);
    if (status == HONE_OK)
        status = run_trial(&t, p->least_s, out, err);
    if (t.memory && !b->scratch)
        b->device->release(b->dev, HONE_DEVICE_SPACE, t.memory);
    if (t.stream)
        b->device->stream_close(b->dev, t.stream);
    hone_arena_free(&a);
    return status;
}
