/* SPDX-License-Identifier: MIT
 *
 * map.c -- one element-wise program over a list of tensors (docs/ops.md; the
 * language is in mapcode.h). Operands: scalars, then `reads` inputs and
 * `writes` outputs for each tensor of the list, all of one element count.
 * Outputs may be held in blocks of eight bits: those are read and stored whole.
 * With `stochastic` there are two more inputs, rng and a key for each output:
 * those that are held as bf16 and have a key are rounded as rounding.h says.
 */
#include "op.h"

#include "dynamic8.h"
#include "mapcode.h"
#include "rounding.h"

/* Values of one element while the program runs. */
typedef struct machine {
    real s[HONE_MAP_SCALARS], x[HONE_MAP_TENSORS], y[HONE_MAP_TENSORS];
    real r[HONE_MAP_REGISTERS], stack[HONE_MAP_STACK + 1];
} machine;

static real one(hone_map_code code, real a)
{
    switch (code) {
    case HONE_MAP_NEG: return -a;
    case HONE_MAP_ABS: return fabs(a);
    case HONE_MAP_SQRT: return sqrt(a);
    case HONE_MAP_EXP: return exp(a);
    case HONE_MAP_EXPM1: return expm1(a);
    case HONE_MAP_LOG: return log(a);
    case HONE_MAP_SIGN: return (real)((a > 0) - (a < 0));
    default: return isfinite(a) ? 1 : 0; /* HONE_MAP_FINITE */
    }
}

static real two(hone_map_code code, real a, real b)
{
    switch (code) {
    case HONE_MAP_PLUS: return a + b;
    case HONE_MAP_MINUS: return a - b;
    case HONE_MAP_TIMES: return a * b;
    case HONE_MAP_OVER: return a / b;
    case HONE_MAP_MIN: return a < b ? a : b;
    case HONE_MAP_MAX: return a > b ? a : b;
    case HONE_MAP_LESS: return a < b;
    default: return a > b; /* HONE_MAP_MORE */
    }
}

static void run(const hone_mapcode *code, machine *m)
{
    real *top = m->stack; /* the next free place */
    int i;

    for (i = 0; i < code->count; i++) {
        const hone_map_step *s = &code->step[i];
        switch (s->code) {
        case HONE_MAP_NUMBER: *top++ = (real)s->value; break;
        case HONE_MAP_S: *top++ = m->s[s->index]; break;
        case HONE_MAP_X: *top++ = m->x[s->index]; break;
        case HONE_MAP_Y: *top++ = m->y[s->index]; break;
        case HONE_MAP_R: *top++ = m->r[s->index]; break;
        case HONE_MAP_SET_Y: m->y[s->index] = *--top; break;
        case HONE_MAP_SET_R: m->r[s->index] = *--top; break;
        case HONE_MAP_DUP: top[0] = top[-1]; top++; break;
        case HONE_MAP_SWAP:
            top[0] = top[-1], top[-1] = top[-2], top[-2] = top[0];
            break;
        case HONE_MAP_LERP:
            top -= 2;
            top[-1] += top[1] * (top[0] - top[-1]);
            break;
        case HONE_MAP_SELECT:
            top -= 2;
            top[-1] = top[-1] != 0 ? top[0] : top[1];
            break;
        default:
            if (s->code >= HONE_MAP_NEG) {
                top[-1] = one(s->code, top[-1]);
            } else {
                top--;
                top[-1] = two(s->code, top[-1], top[0]);
            }
        }
    }
}

static int is_block8(hone_storage s)
{
    return s == HONE_INT8 || s == HONE_UINT8;
}

/* N numbers from element AT on, the start of a block. */
static void load_y(view v, const float *absmax, int64_t at, int64_t n, real *to)
{
    const uint8_t *codes = v.at;
    int64_t i;

    for (i = 0; i < n; i++)
        to[i] = !is_block8(v.storage)
                    ? get(v, at + i)
                    : (real)(hone_dynamic8_value(codes[at + i],
                                                 v.storage == HONE_INT8) *
                             absmax[at / HONE_BLOCK8]);
}

static void store_y(view v, float *absmax, int64_t at, int64_t n,
                    const real *from)
{
    uint8_t *codes = v.at;
    float value[256], top = 0;
    int64_t i;

    for (i = 0; i < n && !is_block8(v.storage); i++)
        set(v, at + i, from[i]);
    if (!is_block8(v.storage))
        return;
    for (i = 0; i < 256; i++)
        value[i] = hone_dynamic8_value((int)i, v.storage == HONE_INT8);
    for (i = 0; i < n; i++)
        top = fmaxf(top, fabsf((float)from[i]));
    absmax[at / HONE_BLOCK8] = top;
    for (i = 0; i < n; i++)
        codes[at + i] = (uint8_t)hone_dynamic8_code(
            value, (float)from[i] * hone_dynamic8_scale(top));
}

/* Output OUT of the call, if it is one that is rounded at random; else 0. */
static int store_random(const hone_call *c, const hone_ptr *p, uint32_t out,
                        int64_t at, int64_t n, const real *from)
{
    const hone_map_attrs *a = c->attrs;
    uint16_t *to = p[c->nin + out].part[0];
    const int64_t *rng, *key;
    int64_t i;

    if (!a->stochastic || c->type[c->nin + out].storage != HONE_BF16)
        return 0;
    rng = p[c->nin - 2].part[0];
    key = p[c->nin - 1].part[0];
    for (i = at; key[out] != 0 && i < at + n; i++) {
        uint32_t r[4];
        hone_rounding_draw(hone_philox_open(rng[0], rng[1], key[out]),
                           (uint64_t)i / HONE_ROUNDING_BLOCK, r);
        to[i] = hone_bf16_random(
            (float)from[i - at],
            hone_rounding_bits(r, (int)(i % HONE_ROUNDING_BLOCK)));
    }
    return key[out] != 0;
}

/* The operands of one tensor of the list: X inputs from IN, Y from OUT on. */
static void sweep(const hone_call *c, const hone_ptr *p, machine *m,
                  const hone_mapcode *code, uint32_t in, uint32_t out)
{
    const hone_map_attrs *a = c->attrs;
    real y[HONE_MAP_TENSORS][HONE_BLOCK8];
    int64_t at, i, k, size, n = output(c, p, out).count;

    for (at = 0; at < n; at += size) {
        size = n - at < HONE_BLOCK8 ? n - at : HONE_BLOCK8;
        for (k = 0; k < a->writes; k++)
            load_y(output(c, p, out + (uint32_t)k),
                   p[c->nin + out + (uint32_t)k].part[1], at, size, y[k]);
        for (i = 0; i < size; i++) {
            for (k = 0; k < a->reads; k++)
                m->x[k] = get(input(c, p, in + (uint32_t)k), at + i);
            for (k = 0; k < a->writes; k++)
                m->y[k] = y[k][i];
            run(code, m);
            for (k = 0; k < a->writes; k++)
                y[k][i] = m->y[k];
        }
        for (k = 0; k < a->writes; k++)
            if (code->writes_y >> k & 1u &&
                !store_random(c, p, out + (uint32_t)k, at, size, y[k]))
                store_y(output(c, p, out + (uint32_t)k),
                        p[c->nin + out + (uint32_t)k].part[1], at, size, y[k]);
    }
}

REF(map)
{
    const hone_map_attrs *a = c->attrs;
    uint32_t scalars = (uint32_t)a->scalars, reads = (uint32_t)a->reads;
    uint32_t writes = (uint32_t)a->writes, k;
    hone_mapcode code;
    machine m = { { 0 }, { 0 }, { 0 }, { 0 }, { 0 } };

    if (hone_mapcode_parse(a->program, a->scalars, a->reads, a->writes, &code,
                           NULL) != HONE_OK)
        return; /* the shape rule has refused it */
    for (k = 0; k < scalars; k++)
        m.s[k] = get(input(c, p, k), 0);
    if (a->guard && m.s[0] == 0)
        return;
    for (k = 0; k < c->nout / writes; k++)
        sweep(c, p, &m, &code, scalars + k * reads, k * writes);
}

#ifndef HONE_REF_DOUBLE

static hone_status check_counts(const hone_call *c, hone_err *err)
{
    const hone_map_attrs *a = c->attrs;
    int64_t tensors = a->writes > 0 ? c->nout / a->writes : 0;

    if (!a->program)
        return hone_fail(err, HONE_EINVAL, "map: program is missing");
    if (a->guard && a->scalars < 1)
        return hone_fail(err, HONE_EINVAL,
                         "map: guard needs a scalar s0 to look at");
    if (tensors < 1 || tensors * a->writes != c->nout ||
        a->scalars + tensors * a->reads + HONE_MAP_ROUNDING(a) != c->nin)
        return hone_fail(err, HONE_EINVAL,
                         "map: %u inputs and %u outputs are not %lld scalars "
                         "and whole tensors of %lld reads and %lld writes%s",
                         c->nin, c->nout, (long long)a->scalars,
                         (long long)a->reads, (long long)a->writes,
                         a->stochastic ? ", then rng and keys" : "");
    return HONE_OK;
}

/* The two operands behind the list that `stochastic` asks for. */
static hone_status check_rounding(const hone_call *c, hone_err *err)
{
    const hone_map_attrs *a = c->attrs;
    const hone_type *rng, *keys;

    if (!a->stochastic)
        return HONE_OK;
    rng = &c->type[c->nin - 2];
    keys = &c->type[c->nin - 1];
    if (rng->storage != HONE_I64 || hone_count(rng) != 2 ||
        keys->storage != HONE_I64 || hone_count(keys) != c->nout)
        return hone_fail(err, HONE_EINVAL,
                         "map: stochastic needs rng i64[2] and keys i64[%u] "
                         "behind the tensors", c->nout);
    return HONE_OK;
}

/* Operand I holds numbers, N of them. */
static hone_status want_count(const hone_call *c, uint32_t i, int64_t n,
                              hone_err *err)
{
    const hone_type *t = &c->type[i];
    if (!is_float(t->storage) && (i < c->nin || !is_block8(t->storage)))
        return hone_fail(err, HONE_ENOSUP,
                         "map: operand %u is not held as f32, bf16 or f16%s", i,
                         i < c->nin ? "" : ", or in blocks of int8 or uint8");
    if (hone_count(t) != n)
        return hone_fail(err, HONE_EINVAL,
                         "map: operand %u is %s, it must have %lld elements", i,
                         shape_text(t).s, (long long)n);
    return HONE_OK;
}

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_map_attrs *a = c->attrs;
    hone_mapcode code;
    uint32_t i;

    hone_try(check_counts(c, err));
    hone_try(check_rounding(c, err));
    hone_try(hone_mapcode_parse(a->program, a->scalars, a->reads, a->writes,
                                &code, err));
    for (i = 0; i < c->nin - HONE_MAP_ROUNDING(a); i++) {
        uint32_t s = (uint32_t)a->scalars;
        int64_t n = 1;
        if (i >= s)
            n = hone_count(&c->type[c->nin + (i - s) / (uint32_t)a->reads *
                                                 (uint32_t)a->writes]);
        hone_try(want_count(c, i, n, err));
    }
    for (i = 0; i < c->nout; i++) {
        uint32_t first = i - i % (uint32_t)a->writes;
        hone_try(want_count(c, c->nin + i,
                            hone_count(&c->type[c->nin + first]), err));
        out[i] = c->type[c->nin + i];
    }
    return HONE_OK;
}

/* Rng and keys; one in three is absent. */
static void sample_keys(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    int64_t *rng, *key;
    uint32_t i;

    rng = p[c->nin - 2].part[0];
    key = p[c->nin - 1].part[0];
    rng[0] = draw(&seed, INT64_MAX);
    rng[1] = draw(&seed, 1000);
    for (i = 0; i < c->nout; i++)
        key[i] = draw(&seed, 3) ? 1 + draw(&seed, INT64_MAX - 1) : 0;
}

static void make_positive(view v, real least)
{
    int64_t i;
    for (i = 0; i < v.count; i++)
        set(v, i, fabs(get(v, i)) + least);
}

/* Scalars far from 0, and of three outputs a last one that has roots. */
static void sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    const hone_map_attrs *a = c->attrs;
    uint32_t i;

    for (i = 0; i < (uint32_t)a->scalars; i++)
        make_positive(input(c, p, i), (real)0.25);
    for (i = 2; a->writes == 3 && i < c->nout; i += 3)
        if (is_float(c->type[c->nin + i].storage))
            make_positive(output(c, p, i), 0);
    if (a->stochastic)
        sample_keys(c, seed, p);
}

static double flops(const hone_call *c)
{
    const hone_map_attrs *a = c->attrs;
    hone_mapcode code;
    double n = 0;
    uint32_t i;

    if (hone_mapcode_parse(a->program, a->scalars, a->reads, a->writes, &code,
                           NULL) != HONE_OK)
        return 0;
    for (i = 0; i < c->nout; i += (uint32_t)a->writes)
        n += (double)hone_count(&c->type[c->nin + i]);
    return n * code.count;
}

static const hone_option options[] = {
    HONE_OPT_STR(hone_map_attrs, program, NULL, "postfix text, docs/ops.md"),
    HONE_OPT_INT(hone_map_attrs, scalars, 0, 0, HONE_MAP_SCALARS,
                 "inputs of one element"),
    HONE_OPT_INT(hone_map_attrs, reads, 0, 0, HONE_MAP_TENSORS,
                 "inputs of each tensor of the list"),
    HONE_OPT_INT(hone_map_attrs, writes, 1, 1, HONE_MAP_TENSORS,
                 "outputs of each tensor of the list"),
    HONE_OPT_BOOL(hone_map_attrs, guard, 0, "write nothing when s0 is 0"),
    HONE_OPT_BOOL(hone_map_attrs, stochastic, 0,
                  "round to bf16 at random where keys, the last input, has "
                  "one for the output; rng stands before it"),
    HONE_OPT_END
};

OP(map, "an element-wise program over a list of tensors", options,
   sizeof(hone_map_attrs),
   .in = OPERANDS({ "x", HONE_VARIADIC | HONE_NO_GRAD }),
   .out = OPERANDS({ "y", HONE_VARIADIC | HONE_UPDATED }),
   .shape = shape, .flops = flops, .sample = sample);

EXPORT_OPS(map, &map_component);

#endif
