/* SPDX-License-Identifier: MIT
 *
 * op.h -- what the files of this folder share. Every file is compiled twice:
 * plain, for the definitions and the reference in float, and with
 * HONE_REF_DOUBLE, for the reference in double alone. A file exports the
 * components of its ops as hone_ops_FILE; kernels/ops.c collects them.
 *
 * A reference reads and writes through views, so that it takes any plain
 * storage, reads nf4 and adds where the call says HONE_ADD. It must bear an output that
 * shares the bytes of the input named by HONE_INPLACE.
 */
#ifndef HONE_OP_H
#define HONE_OP_H

#include "attrs.h"
#include "half.h"
#include "hone/nf4.h"
#include "hone/plugin.h"

#include <string.h>
#include <tgmath.h>

#ifdef HONE_REF_DOUBLE
typedef double real;
#define REF(op) void hone_##op##_ref_f64(const hone_call *c, const hone_ptr *p)
#else
typedef float real;
#define REF(op) void hone_##op##_ref_f32(const hone_call *c, const hone_ptr *p)
#endif
#define REF_DECLARE(op)                                                        \
    void hone_##op##_ref_f32(const hone_call *, const hone_ptr *);             \
    void hone_##op##_ref_f64(const hone_call *, const hone_ptr *)

/* ------------------------------------------------------- for the reference */

typedef struct view {
    void *at;
    const hone_ptr *parts;
    hone_storage storage;
    int add; /* put() adds */
    int64_t rows, cols, count;
} view;

static inline int has(const hone_call *c, uint32_t i)
{
    return i < c->nin + c->nout && c->type[i].storage != HONE_NOTHING;
}

static inline view input(const hone_call *c, const hone_ptr *p, uint32_t i)
{
    const hone_type *t = &c->type[i];
    view v = { p[i].part[0], &p[i], t->storage, c->mode[i] == HONE_ADD,
               t->dim[0], 1, hone_count(t) };
    int k;
    for (k = 1; k < t->rank; k++)
        v.cols *= t->dim[k];
    return v;
}

static inline view output(const hone_call *c, const hone_ptr *p, uint32_t i)
{
    return input(c, p, c->nin + i);
}

static inline real get(view v, int64_t i)
{
    switch (v.storage) {
    case HONE_F32: return (real)((const float *)v.at)[i];
    case HONE_F64: return (real)((const double *)v.at)[i];
    case HONE_BF16: return (real)hone_bf16_load(((const uint16_t *)v.at)[i]);
    case HONE_F16: return (real)hone_f16_load(((const uint16_t *)v.at)[i]);
    case HONE_NF4:
    case HONE_NF4_PLAIN: return (real)hone_nf4_value(v.storage, v.parts, i);
    default: return 0; /* packs have the compiler convert the others */
    }
}

static inline void set(view v, int64_t i, real x)
{
    switch (v.storage) {
    case HONE_F32: ((float *)v.at)[i] = (float)x; break;
    case HONE_F64: ((double *)v.at)[i] = (double)x; break;
    case HONE_BF16: ((uint16_t *)v.at)[i] = hone_bf16_round((float)x); break;
    case HONE_F16: ((uint16_t *)v.at)[i] = hone_f16_round((float)x); break;
    default: break;
    }
}

static inline void put(view v, int64_t i, real x)
{
    set(v, i, v.add ? get(v, i) + x : x);
}

/* For outputs that are summed up in place: 0 first unless the call adds. */
static inline view sum_into(view v)
{
    int64_t i;
    if (!v.add)
        for (i = 0; i < v.count; i++)
            set(v, i, 0);
    v.add = 1;
    return v;
}

/* 1 / sqrt(mean x^2 + eps) of the D numbers from AT on. */
static inline real inverse_rms(view x, int64_t at, int64_t d, double eps)
{
    real sum = 0;
    int64_t k;
    for (k = 0; k < d; k++)
        sum += get(x, at + k) * get(x, at + k);
    return 1 / sqrt(sum / (real)d + (real)eps);
}

static inline const int32_t *ints(const hone_ptr *p, uint32_t i)
{
    return (const int32_t *)p[i].part[0];
}

/* ----------------------------------------------------- for the definitions */

#ifndef HONE_REF_DOUBLE

#define OPERANDS(...) (const hone_operand[]){ __VA_ARGS__, { NULL, 0 } }
#define NO_OPERANDS (const hone_operand[]){ { NULL, 0 } }

/* The op ID as a component; the rest are members of hone_op. */
#define OP(id, HELP, OPTIONS, ATTRS_SIZE, ...)                                 \
    REF_DECLARE(id);                                                           \
    static const hone_op id##_op = { .size = sizeof(hone_op),                  \
                                     .ref_f32 = hone_##id##_ref_f32,           \
                                     .ref_f64 = hone_##id##_ref_f64,           \
                                     __VA_ARGS__ };                            \
    static const hone_component id##_component = {                             \
        .size = sizeof(hone_component),                                        \
        .kind = HONE_KIND_OP,                                                  \
        .name = #id,                                                           \
        .help = HELP,                                                          \
        .options = OPTIONS,                                                    \
        .config_size = ATTRS_SIZE,                                             \
        .ops = &id##_op                                                        \
    }
#define EXPORT_OPS(file, ...)                                                  \
    extern const hone_component *const hone_ops_##file[];                      \
    const hone_component *const hone_ops_##file[] = { __VA_ARGS__, NULL }

/* Lists with their lengths, for emit(). */
#define IDS(...)                                                               \
    (const hone_id[]){ __VA_ARGS__ },                                          \
        (uint32_t)(sizeof((hone_id[]){ __VA_ARGS__ }) / sizeof(hone_id))
#define ATTRS(...)                                                             \
    (const hone_attr[]){ __VA_ARGS__ },                                        \
        (uint32_t)(sizeof((hone_attr[]){ __VA_ARGS__ }) / sizeof(hone_attr))
#define NO_ATTRS NULL, 0

#define ANY 1e38 /* bound of an unbounded option */

/* Emits an op with one new output. */
static inline hone_status emit(hone_builder *b, const char *op,
                               const hone_attr *attrs, uint32_t nattrs,
                               const hone_id *in, uint32_t nin, hone_id *out,
                               hone_err *err)
{
    *out = HONE_NONE;
    return b->emit(b, op, NULL, attrs, nattrs, in, nin, out, 1, err);
}

/* Statistics, losses and gradients of parameters are kept in this. */
static inline hone_storage stat_storage(const hone_call *c)
{
    return c->compute == HONE_F64 ? HONE_F64 : HONE_F32;
}

/* The shape of T held as activations are. */
static inline hone_type activation(const hone_call *c, const hone_type *t)
{
    hone_type a = *t;
    a.storage = c->compute;
    return a;
}

typedef struct text {
    char s[96];
} text;

/* "[2,3]", for messages: shape_text(&t).s */
static inline text shape_text(const hone_type *t)
{
    text x;
    size_t at = 0;
    int i;
    x.s[at++] = '[';
    for (i = 0; i < t->rank; i++)
        at += (size_t)snprintf(x.s + at, sizeof x.s - at, "%s%lld",
                               i ? "," : "", (long long)t->dim[i]);
    (void)snprintf(x.s + at, sizeof x.s - at, "]");
    return x;
}

static inline hone_status want_rank(const hone_call *c, uint32_t i,
                                    const char *name, int rank, hone_err *err)
{
    const hone_type *t = &c->type[i];
    if (i >= c->nin + c->nout || t->storage == HONE_NOTHING)
        return hone_fail(err, HONE_EINVAL, "%s: operand %s is missing", c->op,
                         name);
    if (t->rank != rank)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %s is %s, it must have %d dimension%s", c->op,
                         name, shape_text(t).s, rank, rank == 1 ? "" : "s");
    return HONE_OK;
}

/* Dimension AXIS of operand I must be N. */
static inline hone_status want_dim(const hone_call *c, uint32_t i,
                                   const char *name, int axis, int64_t n,
                                   hone_err *err)
{
    const hone_type *t = &c->type[i];
    if (t->dim[axis] != n)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %s is %s, dimension %d must be %lld", c->op, name,
                         shape_text(t).s, axis, (long long)n);
    return HONE_OK;
}

static inline hone_status want_same(const hone_call *c, uint32_t i,
                                    const char *name, uint32_t j,
                                    const char *other, hone_err *err)
{
    const hone_type *a = &c->type[i], *b = &c->type[j];
    int k, same = a->rank == b->rank;
    for (k = 0; same && k < a->rank; k++)
        same = a->dim[k] == b->dim[k];
    if (!same)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %s is %s and %s is %s, they must be the same",
                         c->op, name, shape_text(a).s, other, shape_text(b).s);
    return HONE_OK;
}

/* A list of N integers, N < 0: any length. */
static inline hone_status want_ints(const hone_call *c, uint32_t i,
                                    const char *name, int64_t n, hone_err *err)
{
    hone_try(want_rank(c, i, name, 1, err));
    if (c->type[i].storage != HONE_I32)
        return hone_fail(err, HONE_EINVAL, "%s: %s must be i32", c->op, name);
    return n < 0 ? HONE_OK : want_dim(c, i, name, 0, n, err);
}

static inline int is_float(hone_storage s)
{
    return s == HONE_F32 || s == HONE_BF16 || s == HONE_F16 || s == HONE_F64;
}

/* Random integers for the sample functions, splitmix64. */
static inline int64_t draw(uint64_t *seed, int64_t limit)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return limit > 0 ? (int64_t)(x % (uint64_t)limit) : 0;
}

/* Operand I becomes random integers in [LOW, LIMIT). */
static inline void draw_ints(const hone_call *c, const hone_ptr *p, uint32_t i,
                             int64_t low, int64_t limit, uint64_t seed)
{
    int32_t *to = (int32_t *)p[i].part[0];
    int64_t k, n = hone_count(&c->type[i]);
    for (k = 0; k < n; k++)
        to[k] = (int32_t)(low + draw(&seed, limit - low));
}

#endif
#endif
