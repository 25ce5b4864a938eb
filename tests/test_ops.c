/* SPDX-License-Identifier: MIT
 *
 * test_ops.c -- the specification proved: gradients of every forward op
 * against central differences in double, fused ops against what they
 * decompose into, the float reference against the double one, in place and
 * adding (eager.h), and the refusals of shape rules.
 */
#include "eager.h"

#include "../kernels/ops/half.h"
#include "../kernels/ops/philox.h"

#define MAX_IN 7
#define MAX_OUT 4

/* Operands of a case; the storage HONE_F32 stands for the one computed in. */
#define MATRIX(a, b) { HONE_F32, 2, { a, b, 1, 1 } }
#define VECTOR(a) { HONE_F32, 1, { a, 1, 1, 1 } }
#define INTS(a) { HONE_I32, 1, { a, 1, 1, 1 } }
#define DOCS(a) { HONE_I32, 2, { a, 4, 1, 1 } }
#define RNG { HONE_I64, 1, { 2, 1, 1, 1 } }
#define ABSENT { HONE_NOTHING, 0, { 0 } }

typedef struct op_case {
    const char *op;
    uint32_t nin, nout;
    hone_type in[MAX_IN];
    uint32_t nattrs;
    hone_attr attrs[6];
} op_case;

static const op_case cases[] = {
    { "embed", 2, 1, { MATRIX(5, 3), INTS(7) }, 0, { { 0 } } },
    { "linear", 3, 1, { MATRIX(4, 5), MATRIX(3, 5), VECTOR(3) },
      1, { { "scale", 0.7, NULL } } },
    { "linear", 3, 1, { MATRIX(4, 5), MATRIX(3, 5), ABSENT }, 0, { { 0 } } },
    { "linear", 2, 1, { MATRIX(4, 5), MATRIX(3, 5) }, 0, { { 0 } } },
    { "rmsnorm", 2, 1, { MATRIX(3, 8), VECTOR(8) },
      2, { { "eps", 1e-3, NULL }, { "offset", 1, NULL } } },
    { "rmsnorm", 2, 1, { MATRIX(3, 8), VECTOR(4) }, 0, { { 0 } } },
    { "add", 2, 1, { MATRIX(3, 4), MATRIX(3, 4) }, 0, { { 0 } } },
    { "mul", 2, 1, { MATRIX(3, 4), MATRIX(3, 4) }, 0, { { 0 } } },
    { "scale", 1, 1, { MATRIX(3, 4) }, 1, { { "by", -1.5, NULL } } },
    { "silu", 1, 1, { MATRIX(3, 4) }, 0, { { 0 } } },
    { "gelu_tanh", 1, 1, { MATRIX(3, 4) }, 0, { { 0 } } },
    { "softcap", 1, 1, { MATRIX(3, 4) }, 1, { { "cap", 1.5, NULL } } },
    { "split", 1, 2, { MATRIX(3, 7) }, 1, { { "at", 3, NULL } } },
    { "join", 2, 1, { MATRIX(3, 4), MATRIX(3, 2) }, 0, { { 0 } } },
    { "swiglu", 2, 1, { MATRIX(3, 4), MATRIX(3, 4) }, 0, { { 0 } } },
    { "swiglu_factors", 7, 2,
      { MATRIX(4, 5), MATRIX(4, 5), MATRIX(4, 2), MATRIX(5, 2), MATRIX(4, 3),
        MATRIX(5, 3), MATRIX(2, 5) },
      2, { { "gate_scale", 0.5, NULL }, { "up_scale", 0.75, NULL } } },
    { "add_rmsnorm", 3, 2, { MATRIX(3, 8), MATRIX(3, 8), VECTOR(8) },
      2, { { "eps", 1e-3, NULL }, { "offset", 0.5, NULL } } },
    { "rope", 3, 1, { MATRIX(5, 12), VECTOR(3), INTS(5) }, 0, { { 0 } } },
    { "rope", 3, 1, { MATRIX(5, 16), VECTOR(3), INTS(5) },
      3, { { "head_dim", 8, NULL }, { "factor", 1.25, NULL },
           { "inverse", 1, NULL } } },
    { "norm_rope", 4, 1,
      { MATRIX(5, 12), VECTOR(6), VECTOR(3), INTS(5) },
      3, { { "eps", 1e-3, NULL }, { "offset", 0.5, NULL },
           { "factor", 1.25, NULL } } },
    { "attention", 4, 2,
      { MATRIX(9, 8), MATRIX(9, 4), MATRIX(9, 4), DOCS(4) },
      3, { { "heads", 4, NULL }, { "kv_heads", 2, NULL },
           { "scale", 0.7, NULL } } },
    { "attention", 4, 2,
      { MATRIX(9, 6), MATRIX(14, 6), MATRIX(14, 6), DOCS(2) },
      5, { { "heads", 2, NULL }, { "kv_heads", 2, NULL },
           { "scale", 2, NULL }, { "window", 3, NULL },
           { "softcap", 1.5, NULL } } },
    { "dropout", 4, 1, { MATRIX(6, 10), INTS(6), INTS(6), RNG },
      2, { { "p", 0.4, NULL }, { "key", 77, NULL } } },
    { "xent", 2, 2, { MATRIX(6, 5), INTS(6) }, 0, { { 0 } } },
    { "gather", 2, 1, { MATRIX(6, 3), INTS(4) }, 0, { { 0 } } },
    { "scatter", 2, 1, { MATRIX(4, 3), INTS(4) }, 1, { { "rows", 6, NULL } } },
    { "convert", 1, 1, { MATRIX(2, 3) }, 1, { { "to", 0, "f64" } } },
    { "dora", 3, 1, { MATRIX(5, 3), VECTOR(3), VECTOR(3) }, 0, { { 0 } } },
    { "dora", 4, 1, { MATRIX(5, 3), VECTOR(3), VECTOR(3), VECTOR(3) },
      0, { { 0 } } },
};
#define CASES (sizeof cases / sizeof *cases)

/* A case with drawn inputs and its outputs. */
typedef struct drawn {
    eager e;
    const op_case *c;
    const hone_op *op;
    uint8_t config[256];
    hone_id in[MAX_IN], out[MAX_OUT];
} drawn;

static hone_id draw_input(eager *e, hone_type type, const drawn *same)
{
    hone_id id = e->count;
    int64_t i;
    if (type.storage == HONE_NOTHING)
        return HONE_NONE;
    if (type.storage == HONE_F32)
        type.storage = e->compute;
    eager_new(e, type);
    if (type.storage == e->compute && !same)
        eager_draw(e, id);
    else if (type.storage == e->compute)
        for (i = 0; i < eager_size(e, id); i++)
            eager_set(e, id, i, eager_get(&same->e, id, i));
    return id;
}

static void forward(drawn *d, hone_id *out)
{
    hone_err err = { HONE_OK, "" };
    if (eager_emit(&d->e.builder, d->c->op, NULL, d->c->attrs, d->c->nattrs,
                   d->in, d->c->nin, out, d->c->nout, &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

/* Draws the inputs of a case, or takes the values of SAME, and runs it. */
static void draw_case(drawn *d, const op_case *c, hone_storage compute,
                      uint64_t seed, const drawn *same)
{
    const hone_component *component = eager_op(c->op);
    hone_type type[MAX_IN + MAX_OUT] = { 0 };
    hone_ptr ptr[MAX_IN + MAX_OUT] = { 0 };
    uint8_t mode[MAX_IN + MAX_OUT] = { 0 };
    hone_call call = { sizeof call, c->op, d->config, c->nin, c->nout,
                       type, mode, compute, NULL };
    uint32_t i;

    eager_open(&d->e, compute);
    d->e.seed = seed * 977 + 5;
    d->c = c;
    d->op = component->ops;
    memset(d->config, 0, sizeof d->config);
    eager_attrs(component, c->attrs, c->nattrs, d->config);
    for (i = 0; i < c->nin; i++) {
        d->in[i] = draw_input(&d->e, c->in[i], same);
        if (d->in[i] == HONE_NONE)
            continue;
        type[i] = d->e.t[d->in[i]].type;
        ptr[i] = d->e.t[d->in[i]].ptr;
    }
    if (d->op->sample)
        d->op->sample(&call, seed, ptr);
    for (i = 0; i < c->nout; i++)
        d->out[i] = HONE_NONE;
    d->e.modes = 1;
    forward(d, d->out);
}

/* Random gradients for the outputs in MASK; none flows into an lse. */
static void draw_dout(drawn *d, unsigned mask, hone_id *dout)
{
    uint32_t i;
    for (i = 0; i < d->c->nout; i++) {
        dout[i] = HONE_NONE;
        if (!(mask >> i & 1) || strcmp(d->op->out[i].name, "lse") == 0)
            continue;
        dout[i] = eager_new(&d->e, d->e.t[d->out[i]].type);
        eager_draw(&d->e, dout[i]);
    }
}

static int differentiable(const drawn *d, uint32_t i)
{
    return d->in[i] != HONE_NONE && !(d->op->in[i].flags & HONE_NO_GRAD);
}

static void backward(drawn *d, const hone_id *dout, const uint8_t *need,
                     hone_id *din)
{
    hone_err err = { HONE_OK, "" };
    const hone_rule rule = { d->config, "test", d->c->nin, d->c->nout, d->in,
                             d->out,    dout,   need,      din };
    uint32_t i;
    for (i = 0; i < d->c->nin; i++)
        din[i] = HONE_NONE;
    if (d->op->backward(&d->e.builder, &rule, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    for (i = 0; i < d->c->nin; i++) /* none: it is 0 */
        if (need[i] && din[i] == HONE_NONE)
            din[i] = eager_new(&d->e, d->e.t[d->in[i]].type);
}

static double weighted(const drawn *d, const hone_id *out, const hone_id *dout)
{
    double sum = 0;
    uint32_t k;
    int64_t i;
    for (k = 0; k < d->c->nout; k++)
        for (i = 0; dout[k] != HONE_NONE && i < eager_size(&d->e, out[k]); i++)
            sum += eager_get(&d->e, out[k], i) * eager_get(&d->e, dout[k], i);
    return sum;
}

/* Central differences of one input, as a new tensor. */
static hone_id differences(drawn *d, uint32_t in, const hone_id *dout,
                           hone_id *scratch)
{
    const double step = 1e-5;
    hone_id id = d->in[in], g = eager_new(&d->e, d->e.t[id].type);
    int64_t i;
    for (i = 0; i < eager_size(&d->e, id); i++) {
        double x = eager_get(&d->e, id, i), up, down;
        eager_set(&d->e, id, i, x + step);
        forward(d, scratch);
        up = weighted(d, scratch, dout);
        eager_set(&d->e, id, i, x - step);
        forward(d, scratch);
        down = weighted(d, scratch, dout);
        eager_set(&d->e, id, i, x);
        eager_set(&d->e, g, i, (up - down) / (2 * step));
    }
    return g;
}

static void check_gradients(const op_case *c, uint64_t seed, unsigned mask)
{
    drawn d;
    hone_id dout[MAX_OUT], din[MAX_IN], one[MAX_IN], scratch[MAX_OUT];
    uint8_t need[MAX_IN] = { 0 };
    uint32_t i;

    draw_case(&d, c, HONE_F64, seed, NULL);
    draw_dout(&d, mask, dout);
    for (i = 0; i < c->nin; i++)
        need[i] = (uint8_t)differentiable(&d, i);
    backward(&d, dout, need, din);
    d.e.modes = 0;
    for (i = 0; i < c->nout; i++)
        scratch[i] = eager_new(&d.e, d.e.t[d.out[i]].type);
    for (i = 0; i < c->nin; i++) {
        uint8_t only[MAX_IN] = { 0 };
        double error;
        if (!need[i])
            continue;
        error = eager_error(&d.e, din[i], &d.e,
                            differences(&d, i, dout, scratch));
        if (!(error < 1e-6))
            fail_msg("%s (case %d, outputs %x): gradient of %s is off by %g",
                     c->op, (int)(c - cases), mask, d.op->in[i].name, error);
        only[i] = 1;
        backward(&d, dout, only, one);
        assert_true(eager_error(&d.e, one[i], &d.e, din[i]) == 0);
    }
    eager_close(&d.e);
}

static void gradients_are_central_differences(void **state)
{
    size_t i;
    uint64_t seed;
    (void)state;
    for (i = 0; i < CASES; i++)
        for (seed = 1; seed <= 4; seed++) {
            check_gradients(&cases[i], seed, 3);
            if (strcmp(cases[i].op, "add_rmsnorm") == 0 ||
                strcmp(cases[i].op, "split") == 0) {
                check_gradients(&cases[i], seed, 1); /* of one output alone */
                check_gradients(&cases[i], seed, 2);
            }
        }
}

static void float_agrees_with_double(void **state)
{
    size_t n;
    (void)state;
    for (n = 0; n < CASES; n++) {
        const op_case *c = &cases[n];
        hone_id dout[2][MAX_OUT], din[2][MAX_IN];
        uint8_t need[MAX_IN] = { 0 };
        drawn d[2];
        uint32_t i;
        int k;

        for (k = 0; k < 2; k++) {
            draw_case(&d[k], c, k ? HONE_F32 : HONE_F64, 9, k ? &d[0] : NULL);
            for (i = 0; i < c->nin; i++)
                need[i] = (uint8_t)differentiable(&d[k], i);
            d[k].e.seed = 4; /* the same gradients flow in */
            draw_dout(&d[k], 3, dout[k]);
            backward(&d[k], dout[k], need, din[k]);
        }
        for (i = 0; i < c->nout; i++)
            assert_true(eager_error(&d[1].e, d[1].out[i], &d[0].e,
                                    d[0].out[i]) < 1e-5);
        for (i = 0; i < c->nin; i++)
            if (need[i])
                assert_true(eager_error(&d[1].e, din[1][i], &d[0].e,
                                        din[0][i]) < 1e-5);
        eager_close(&d[0].e);
        eager_close(&d[1].e);
    }
}

static void fused_ops_equal_their_decomposition(void **state)
{
    int found = 0;
    size_t n;
    (void)state;
    for (n = 0; n < CASES; n++) {
        hone_id out[MAX_OUT] = { HONE_NONE, HONE_NONE, HONE_NONE, HONE_NONE };
        hone_err err = { HONE_OK, "" };
        drawn d;
        uint32_t i;

        draw_case(&d, &cases[n], HONE_F64, 3, NULL);
        if (d.op->decompose) {
            const hone_rule rule = { d.config, "test", cases[n].nin,
                                     cases[n].nout, d.in, out, NULL, NULL,
                                     NULL };
            assert_int_equal(d.op->decompose(&d.e.builder, &rule, &err), 0);
            for (i = 0; i < cases[n].nout; i++)
                assert_true(eager_error(&d.e, d.out[i], &d.e, out[i]) < 1e-14);
            found++;
        }
        eager_close(&d.e);
    }
    assert_int_equal(found, 4);
}

/* ------------------------------------------------------- what the ops mean */

static hone_id values(eager *e, hone_storage s, int rank, int64_t a, int64_t b,
                      const double *x)
{
    hone_id id = eager_new(e, hone_type_of(s, rank, a, b));
    int64_t i;
    for (i = 0; i < eager_size(e, id); i++)
        eager_set(e, id, i, x[i]);
    return id;
}

static hone_status emit(eager *e, const char *op, const hone_attr *attrs,
                        uint32_t nattrs, const hone_id *in, uint32_t nin,
                        hone_id *out, uint32_t nout, hone_err *err)
{
    return eager_emit(&e->builder, op, NULL, attrs, nattrs, in, nin, out, nout,
                      err);
}

static void attend(eager *e, hone_id q, hone_id k, hone_id v, hone_id docs,
                   hone_id *out)
{
    const hone_attr attrs[] = { { "heads", 2, NULL }, { "kv_heads", 1, NULL },
                                { "scale", 0.5, NULL } };
    const hone_id in[] = { q, k, v, docs };
    hone_err err;
    out[0] = out[1] = HONE_NONE;
    assert_int_equal(emit(e, "attention", attrs, 3, in, 4, out, 2, &err), 0);
}

/* One query at the end of a cache sees what the last of all queries sees;
 * a document in a pack is as if alone; rows of no document are 0. */
static void attention_knows_documents(void **state)
{
    const double all[] = { 0, 6, 0, 6 }, last[] = { 0, 1, 0, 6 };
    const double two[] = { 0, 2, 0, 2, 2, 3, 2, 3 };
    hone_type wide = hone_type_of(HONE_F64, 2, 6, 4);
    hone_type narrow = hone_type_of(HONE_F64, 2, 6, 2);
    hone_id q, k, v, one, full[2], cached[2], packed[2], alone[2];
    eager e;
    int i;
    (void)state;
    eager_open(&e, HONE_F64);
    eager_draw(&e, q = eager_new(&e, wide));
    eager_draw(&e, k = eager_new(&e, narrow));
    eager_draw(&e, v = eager_new(&e, narrow));
    attend(&e, q, k, v, values(&e, HONE_I32, 2, 1, 4, all), full);
    one = eager_new(&e, hone_type_of(HONE_F64, 2, 1, 4));
    for (i = 0; i < 4; i++)
        eager_set(&e, one, i, eager_get(&e, q, 20 + i));
    attend(&e, one, k, v, values(&e, HONE_I32, 2, 1, 4, last), cached);
    for (i = 0; i < 4; i++)
        assert_true(fabs(eager_get(&e, cached[0], i) -
                         eager_get(&e, full[0], 20 + i)) < 1e-15);
    attend(&e, q, k, v, values(&e, HONE_I32, 2, 2, 4, two), packed);
    attend(&e, q, k, v, values(&e, HONE_I32, 2, 1, 4, two + 4), alone);
    for (i = 8; i < 24; i++)
        assert_true(eager_get(&e, packed[0], i) == eager_get(&e, alone[0], i));
    for (i = 0; i < 8; i++)
        assert_true(eager_get(&e, packed[0], i) == eager_get(&e, full[0], i));
    for (i = 20; i < 24; i++)
        assert_true(eager_get(&e, packed[0], i) == 0);
    assert_true(eager_get(&e, packed[1], 11) == 0);
    /* the first token of a document sees itself alone */
    assert_true(eager_get(&e, full[0], 0) == eager_get(&e, v, 0));
    eager_close(&e);
}

/* W + scale B A is [3,4] and [0,0]. */
static void dora_norms_rows(void **state)
{
    const double a[] = { 1, 2 }, w[] = { 2, 2, -4, -8 }, b[] = { 2, 8 };
    const hone_attr scale = { "scale", 0.5, NULL };
    hone_id in[3], out = HONE_NONE;
    hone_err err;
    eager e;
    (void)state;
    eager_open(&e, HONE_F64);
    in[0] = values(&e, HONE_F64, 2, 1, 2, a);
    in[1] = values(&e, HONE_F64, 2, 2, 2, w);
    in[2] = values(&e, HONE_F64, 2, 2, 1, b);
    assert_int_equal(emit(&e, "dora_norm", &scale, 1, in, 3, &out, 1, &err), 0);
    assert_true(eager_get(&e, out, 0) == 5 && eager_get(&e, out, 1) == 0);
    eager_close(&e);
}

/* What xent and xent_grad say of the same rows, one of them without target. */
static void xent_slopes_are_both(void **state)
{
    const double wanted[] = { 3, -1, 0, 6 }, share[] = { 0.25 };
    hone_id logits, target, dloss, one[2] = { HONE_NONE, HONE_NONE };
    hone_id two[2] = { HONE_NONE, HONE_NONE };
    hone_err err;
    eager e;
    (void)state;
    eager_open(&e, HONE_F64);
    eager_draw(&e, logits = eager_new(&e, hone_type_of(HONE_F64, 2, 4, 7)));
    target = values(&e, HONE_I32, 1, 4, 1, wanted);
    dloss = values(&e, HONE_F64, 1, 1, 1, share);
    const hone_id in[] = { logits, dloss, target }, in_one[] = { logits, target };
    assert_int_equal(emit(&e, "xent_slopes", NULL, 0, in, 3, two, 2, &err), 0);
    assert_int_equal(emit(&e, "xent", NULL, 0, in_one, 2, one, 2, &err), 0);
    assert_true(eager_error(&e, two[0], &e, one[0]) < 1e-14);
    const hone_id in_grad[] = { dloss, logits, one[1], target };
    one[0] = HONE_NONE;
    assert_int_equal(emit(&e, "xent_grad", NULL, 0, in_grad, 4, one, 1, &err),
                     0);
    assert_true(eager_error(&e, two[1], &e, one[0]) < 1e-14);
    eager_close(&e);
}

static void half_types_round_to_nearest_even(void **state)
{
    uint32_t h;
    (void)state;
    for (h = 0; h < 65536; h++) {
        float f = hone_f16_load((uint16_t)h), b = hone_bf16_load((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(hone_f16_round(f), h);
        else
            assert_true(isnan(hone_f16_load(hone_f16_round(f))));
        if (!isnan(b))
            assert_int_equal(hone_bf16_round(b), h);
        else
            assert_true(isnan(hone_bf16_load(hone_bf16_round(b))));
    }
    assert_int_equal(hone_f16_round(65519.0f), 0x7bff);
    assert_int_equal(hone_f16_round(65520.0f), 0x7c00);
    assert_int_equal(hone_f16_round(2049.0f), 0x6800);  /* tie: to 2048 */
    assert_int_equal(hone_f16_round(2051.0f), 0x6802);  /* tie: to 2052 */
    assert_int_equal(hone_f16_round(8.9e-8f), 0x0001);
    assert_int_equal(hone_bf16_round(hone_float_of(0x3f808000u)), 0x3f80);
    assert_int_equal(hone_bf16_round(hone_float_of(0x3f818000u)), 0x3f82);
}

/* The answer of the authors' test, kat_vectors of Random123. */
static void philox_is_the_published_one(void **state)
{
    const hone_philox zero = { { 0, 0 } };
    uint32_t r[4];
    (void)state;
    hone_philox_draw(zero, 0, 0, 0, r);
    assert_int_equal(r[0], 0x6627e8d5u);
    assert_int_equal(r[1], 0xe169c58du);
    assert_int_equal(r[2], 0xbc57ac4cu);
    assert_int_equal(r[3], 0x9b00dbd8u);
}

static void dropout_keeps_its_share(void **state)
{
    const hone_attr attrs[] = { { "p", 0.25, NULL }, { "key", 3, NULL } };
    hone_id in[4], out = HONE_NONE;
    int64_t i, kept = 0, n;
    hone_err err;
    eager e;
    (void)state;
    eager_open(&e, HONE_F32);
    in[0] = eager_new(&e, hone_type_of(HONE_F32, 2, 100, 401));
    in[1] = eager_new(&e, hone_type_of(HONE_I32, 1, 100, 1));
    in[2] = eager_new(&e, hone_type_of(HONE_I32, 1, 100, 1));
    in[3] = eager_new(&e, hone_type_of(HONE_I64, 1, 2, 1));
    n = eager_size(&e, in[0]);
    for (i = 0; i < n; i++)
        eager_set(&e, in[0], i, 3);
    for (i = 0; i < 100; i++)
        eager_set(&e, in[1], i, (double)i);
    assert_int_equal(emit(&e, "dropout", attrs, 2, in, 4, &out, 1, &err), 0);
    for (i = 0; i < n; i++) {
        double y = eager_get(&e, out, i);
        assert_true(y == 0 || fabs(y - 4) < 1e-6);
        kept += y != 0;
    }
    assert_true(fabs((double)kept / (double)n - 0.75) < 0.01);
    eager_close(&e);
}

static void lists_and_caches(void **state)
{
    const double x[] = { 1, 2, 3, 4 }, at[] = { 1 };
    const hone_attr two = { "value", 2.5, NULL };
    hone_id a, b, in[2], list[2], sum = HONE_NONE, same = HONE_NONE;
    hone_err err;
    eager e;
    (void)state;
    eager_open(&e, HONE_F32);
    e.modes = 1;
    a = values(&e, HONE_F32, 2, 2, 2, x);
    b = eager_new(&e, hone_type_of(HONE_F32, 2, 4, 2));
    list[0] = a;
    list[1] = a;
    assert_int_equal(emit(&e, "sumsq", NULL, 0, list, 2, &sum, 1, &err), 0);
    assert_true(eager_get(&e, sum, 0) == 60);
    in[0] = a;
    in[1] = values(&e, HONE_I32, 1, 1, 1, at);
    assert_int_equal(emit(&e, "cache_write", NULL, 0, in, 2, &b, 1, &err), 0);
    assert_true(eager_get(&e, b, 1) == 0 && eager_get(&e, b, 2) == 1 &&
                eager_get(&e, b, 5) == 4 && eager_get(&e, b, 6) == 0);
    eager_set(&e, in[1], 0, 3); /* the second row is beyond the end */
    assert_int_equal(emit(&e, "cache_write", NULL, 0, in, 2, &b, 1, &err), 0);
    assert_true(eager_get(&e, b, 7) == 2);
    assert_int_equal(emit(&e, "copy", NULL, 0, &b, 1, &same, 1, &err), 0);
    assert_true(eager_error(&e, same, &e, b) == 0);
    list[1] = b;
    assert_int_equal(emit(&e, "all_reduce", NULL, 0, NULL, 0, list, 2, &err),
                     0);
    assert_true(eager_error(&e, same, &e, b) == 0);
    assert_int_equal(emit(&e, "fill", &two, 1, NULL, 0, list, 2, &err), 0);
    assert_true(eager_get(&e, a, 3) == 2.5 && eager_get(&e, b, 0) == 2.5);
    eager_close(&e);
}

/* A weight held as bf16 is its rounded values. */
static void half_operands_are_read(void **state)
{
    const hone_attr bf16 = { "to", 0, "bf16" }, f32 = { "to", 0, "f32" };
    hone_id x, w, half = HONE_NONE, back = HONE_NONE, y[2], in[2];
    hone_err err;
    eager e;
    int k;
    (void)state;
    eager_open(&e, HONE_F32);
    eager_draw(&e, x = eager_new(&e, hone_type_of(HONE_F32, 2, 3, 5)));
    eager_draw(&e, w = eager_new(&e, hone_type_of(HONE_F32, 2, 4, 5)));
    assert_int_equal(emit(&e, "convert", &bf16, 1, &w, 1, &half, 1, &err), 0);
    assert_int_equal(emit(&e, "convert", &f32, 1, &half, 1, &back, 1, &err), 0);
    assert_true(eager_error(&e, back, &e, w) > 0);
    assert_true(eager_error(&e, back, &e, w) < 1.0 / 256);
    for (k = 0; k < 2; k++) {
        in[0] = x;
        in[1] = k ? half : back;
        y[k] = HONE_NONE;
        assert_int_equal(emit(&e, "linear", NULL, 0, in, 2, &y[k], 1, &err),
                         0);
    }
    assert_true(eager_error(&e, y[1], &e, y[0]) == 0);
    eager_close(&e);
}

static void wrong_shapes_are_refused_by_name(void **state)
{
    const hone_attr nf4 = { "to", 0, "nf4" };
    hone_id in[4], out[3] = { HONE_NONE, HONE_NONE, HONE_NONE };
    hone_err err;
    eager e;
    (void)state;
    eager_open(&e, HONE_F32);
    in[0] = eager_new(&e, hone_type_of(HONE_F32, 2, 3, 5));
    in[1] = eager_new(&e, hone_type_of(HONE_F32, 2, 4, 6));
    assert_int_equal(emit(&e, "linear", NULL, 0, in, 2, out, 1, &err),
                     HONE_EINVAL);
    assert_string_equal(err.msg, "linear: w is [4,6], dimension 1 must be 5");
    assert_int_equal(emit(&e, "add", NULL, 0, in, 2, out, 1, &err),
                     HONE_EINVAL);
    assert_string_equal(err.msg,
                        "add: a is [3,5] and b is [4,6], they must be the "
                        "same");
    assert_int_equal(emit(&e, "embed", NULL, 0, in, 2, out, 1, &err),
                     HONE_EINVAL);
    assert_string_equal(err.msg,
                        "embed: tokens is [4,6], it must have 1 dimension");
    assert_int_equal(emit(&e, "convert", &nf4, 1, in, 1, out, 1, &err),
                     HONE_ENOSUP);
    assert_non_null(strstr(err.msg, "nf4"));
    in[1] = in[2] = in[0];
    in[3] = eager_new(&e, hone_type_of(HONE_I32, 2, 1, 4));
    assert_int_equal(emit(&e, "attention", NULL, 0, in, 4, out, 2, &err),
                     HONE_EINVAL);
    assert_non_null(strstr(err.msg, "scale must be given"));
    eager_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_central_differences),
        cmocka_unit_test(float_agrees_with_double),
        cmocka_unit_test(fused_ops_equal_their_decomposition),
        cmocka_unit_test(attention_knows_documents),
        cmocka_unit_test(dora_norms_rows),
        cmocka_unit_test(xent_slopes_are_both),
        cmocka_unit_test(half_types_round_to_nearest_even),
        cmocka_unit_test(philox_is_the_published_one),
        cmocka_unit_test(dropout_keeps_its_share),
        cmocka_unit_test(lists_and_caches),
        cmocka_unit_test(half_operands_are_read),
        cmocka_unit_test(wrong_shapes_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
