/* SPDX-License-Identifier: MIT
 *
 * eager.h -- a builder for tests that runs every op at once with the
 * reference code of ops.so: no graph, no compiler, no registry. A tensor is
 * its id; `compute` chooses the reference, HONE_F64 or HONE_F32. With `modes`
 * set, every op is also run adding into its outputs and in place of its
 * inputs, as far as its operand flags allow, and must give the same.
 */
#ifndef HONE_EAGER_H
#define HONE_EAGER_H

#include "hone/plugin.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EAGER_TENSORS 512
#define EAGER_OPERANDS 64

typedef struct eager {
    hone_builder builder;
    hone_storage compute;
    int modes;
    uint64_t seed;
    int count;
    struct {
        hone_type type;
        hone_ptr ptr;
    } t[EAGER_TENSORS];
} eager;

static inline const hone_plugin *eager_plugin(const char *path)
{
    const hone_plugin *(*entry)(void);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = so ? dlsym(so, "hone_plugin_entry") : NULL;
    if (!symbol)
        fail_msg("%s: %s", path, dlerror());
    memcpy(&entry, &symbol, sizeof entry);
    return entry();
}

static inline const hone_component *eager_op(const char *name)
{
    static const hone_plugin *ops;
    int i;
    if (!ops)
        ops = eager_plugin(HONE_BUILD "/lib/hone/plugins/ops.so");
    for (i = 0; ops->components[i]; i++)
        if (strcmp(ops->components[i]->name, name) == 0)
            return ops->components[i];
    fail_msg("no op '%s' in ops.so", name);
    return NULL;
}

/* ----------------------------------------------------------------- tensors */

static inline int64_t eager_bytes(hone_type t)
{
    return hone_part_bytes(t.storage, 0, hone_count(&t));
}

static inline hone_id eager_new(eager *e, hone_type type)
{
    int64_t bytes;
    int p;
    assert_true(e->count < EAGER_TENSORS);
    memset(&e->t[e->count], 0, sizeof e->t[e->count]);
    e->t[e->count].type = type;
    for (p = 0; p < HONE_PARTS; p++) {
        bytes = hone_type_bytes(&type, p);
        if (p == 0 || bytes)
            e->t[e->count].ptr.part[p] = calloc(1, (size_t)(bytes ? bytes : 1));
    }
    return e->count++;
}

/* Forgets the newest tensors, down to COUNT of them. */
static inline void eager_drop(eager *e, int count)
{
    int p;
    while (e->count > count)
        for (e->count--, p = 0; p < HONE_PARTS; p++)
            free(e->t[e->count].ptr.part[p]);
}

/* Element I as a number, whatever its storage. */
static inline double eager_get(const eager *e, hone_id id, int64_t i)
{
    const void *at = e->t[id].ptr.part[0];
    uint32_t u;
    float f;
    switch (e->t[id].type.storage) {
    case HONE_F32: return ((const float *)at)[i];
    case HONE_F64: return ((const double *)at)[i];
    case HONE_I32: return ((const int32_t *)at)[i];
    case HONE_BF16:
        u = (uint32_t)((const uint16_t *)at)[i] << 16;
        memcpy(&f, &u, sizeof f);
        return f;
    default: fail(); return 0;
    }
}

static inline void eager_set(eager *e, hone_id id, int64_t i, double x)
{
    void *at = e->t[id].ptr.part[0];
    switch (e->t[id].type.storage) {
    case HONE_F32: ((float *)at)[i] = (float)x; break;
    case HONE_F64: ((double *)at)[i] = x; break;
    case HONE_I32: ((int32_t *)at)[i] = (int32_t)x; break;
    default: fail();
    }
}

static inline int64_t eager_size(const eager *e, hone_id id)
{
    return hone_count(&e->t[id].type);
}

/* Uniform in [-1, 1], and exact in float. */
static inline double eager_random(eager *e)
{
    e->seed = e->seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(int32_t)(e->seed >> 40) / 8388608.0 - 1;
}

static inline void eager_draw(eager *e, hone_id id)
{
    int64_t i;
    for (i = 0; i < eager_size(e, id); i++)
        eager_set(e, id, i, eager_random(e));
}

/* Largest difference of two tensors over the largest element of the second. */
static inline double eager_error(const eager *a, hone_id i, const eager *b,
                                 hone_id j)
{
    double worst = 0, most = 1e-30;
    int64_t k;
    assert_int_equal(eager_size(a, i), eager_size(b, j));
    for (k = 0; k < eager_size(a, i); k++) {
        double x = eager_get(a, i, k), y = eager_get(b, j, k);
        worst = fmax(worst, isnan(x) || isnan(y) ? INFINITY : fabs(x - y));
        most = fmax(most, fabs(y));
    }
    return worst / most;
}

/* -------------------------------------------------------------- attributes */

static inline void eager_attrs(const hone_component *c, const hone_attr *attrs,
                               uint32_t nattrs, void *config)
{
    const hone_option *o;
    uint32_t i;
    for (o = c->options; o && o->name; o++) {
        char *at = (char *)config + o->offset;
        const char *str = o->sdef;
        double num = o->def;
        int k;
        for (i = 0; i < nattrs; i++)
            if (strcmp(attrs[i].name, o->name) == 0) {
                num = attrs[i].num;
                str = attrs[i].str ? attrs[i].str : str;
            }
        switch (o->type) {
        case HONE_BOOL: *(int *)(void *)at = num != 0; break;
        case HONE_INT: *(int64_t *)(void *)at = (int64_t)num; break;
        case HONE_REAL: *(double *)(void *)at = num; break;
        case HONE_STR: *(const char **)(void *)at = str; break;
        default:
            for (k = 0; strcmp(o->choices[k], str) != 0; k++)
                assert_non_null(o->choices[k]);
            *(int *)(void *)at = k;
        }
    }
    for (i = 0; i < nattrs; i++) {
        for (o = c->options; o && o->name; o++)
            if (strcmp(attrs[i].name, o->name) == 0)
                break;
        if (!o || !o->name)
            fail_msg("%s has no attribute %s", c->name, attrs[i].name);
    }
}

/* --------------------------------------------------------------------- ops */

static inline void eager_reference(const hone_op *op, const hone_call *call,
                                   const hone_ptr *ptr)
{
    if (call->compute == HONE_F64)
        op->ref_f64(call, ptr);
    else
        op->ref_f32(call, ptr);
}

/* Runs the call again with output K in GIVEN; must be RESULT + ADD. */
static inline void eager_again(eager *e, const hone_op *op, hone_call call,
                               const hone_ptr *ptr, uint32_t k, hone_id given,
                               double add, hone_id result)
{
    uint8_t mode[EAGER_OPERANDS];
    hone_ptr p[EAGER_OPERANDS];
    uint32_t i;
    int64_t n;
    int in = HONE_INPLACE_OF(op->out[k].flags);

    memcpy(mode, call.mode, call.nin + call.nout);
    memcpy(p, ptr, (call.nin + call.nout) * sizeof *p);
    call.mode = mode;
    for (i = 0; i < call.nout; i++) /* the others go elsewhere */
        p[call.nin + i] =
            e->t[eager_new(e, call.type[call.nin + i])].ptr;
    p[call.nin + k] = e->t[given].ptr;
    if (add != 0)
        mode[call.nin + k] = HONE_ADD;
    else
        p[in] = e->t[given].ptr;
    eager_reference(op, &call, p);
    for (n = 0; n < eager_size(e, result); n++)
        eager_set(e, given, n, eager_get(e, given, n) - add);
    if (eager_error(e, given, e, result) > (add != 0 ? 1e-5 : 0))
        fail_msg("%s: output %s differs when it is %s", call.op,
                 op->out[k].name, add != 0 ? "added to" : "in place");
    eager_drop(e, given);
}

static inline void eager_modes(eager *e, const hone_op *op,
                               const hone_call *call, const hone_ptr *ptr,
                               const hone_id *out)
{
    uint32_t k;
    int64_t n;
    for (k = 0; k < call->nout; k++) {
        int in = HONE_INPLACE_OF(op->out[k].flags);
        hone_type type = call->type[call->nin + k];
        hone_id given;
        if (op->out[k].flags & HONE_CAN_ADD) {
            given = eager_new(e, type);
            for (n = 0; n < eager_size(e, given); n++)
                eager_set(e, given, n, 0.5);
            eager_again(e, op, *call, ptr, k, given, 0.5, out[k]);
        }
        if (in >= 0 && call->type[in].storage == type.storage) {
            given = eager_new(e, type);
            memcpy(e->t[given].ptr.part[0], ptr[in].part[0],
                   (size_t)eager_bytes(type));
            eager_again(e, op, *call, ptr, k, given, 0, out[k]);
        }
    }
}

static inline hone_status eager_emit(hone_builder *b, const char *name,
                                     const char *node, const hone_attr *attrs,
                                     uint32_t nattrs, const hone_id *in,
                                     uint32_t nin, hone_id *out, uint32_t nout,
                                     hone_err *err)
{
    eager *e = b->self;
    const hone_component *c = eager_op(name);
    const hone_op *op = c->ops;
    hone_type type[EAGER_OPERANDS] = { 0 }, made[EAGER_OPERANDS];
    uint8_t mode[EAGER_OPERANDS], config[256] = { 0 };
    hone_ptr ptr[EAGER_OPERANDS] = { 0 };
    hone_call call = { sizeof call, name, config, nin, nout,
                       type, mode, e->compute, NULL };
    uint32_t i;

    (void)node;
    assert_true(nin + nout <= EAGER_OPERANDS && c->config_size <= 256);
    eager_attrs(c, attrs, nattrs, config);
    memset(mode, HONE_READ, nin);
    for (i = 0; i < nin + nout; i++) {
        hone_id id = i < nin ? in[i] : out[i - nin];
        if (i >= nin)
            mode[i] = op->out[0].flags & HONE_UPDATED ? HONE_UPDATE
                                                      : HONE_WRITE;
        if (id != HONE_NONE) {
            type[i] = e->t[id].type;
            ptr[i] = e->t[id].ptr;
        }
    }
    hone_try(op->shape(&call, made, err));
    for (i = 0; i < nout; i++) {
        if (out[i] == HONE_NONE)
            out[i] = eager_new(e, made[i]);
        type[nin + i] = e->t[out[i]].type;
        ptr[nin + i] = e->t[out[i]].ptr;
        assert_int_equal(made[i].storage, type[nin + i].storage);
    }
    eager_reference(op, &call, ptr);
    if (e->modes)
        eager_modes(e, op, &call, ptr, out);
    return HONE_OK;
}

static inline hone_id eager_temp(hone_builder *b, hone_type t)
{
    return eager_new(b->self, t);
}

static inline hone_type eager_type(hone_builder *b, hone_id id)
{
    const eager *e = b->self;
    return e->t[id].type;
}

static inline void eager_open(eager *e, hone_storage compute)
{
    memset(e, 0, sizeof *e);
    e->builder.size = sizeof e->builder;
    e->builder.emit = eager_emit;
    e->builder.temp = eager_temp;
    e->builder.type = eager_type;
    e->builder.self = e;
    e->compute = compute;
    e->seed = 1;
}

static inline void eager_close(eager *e)
{
    eager_drop(e, 0);
}

#endif
