/* SPDX-License-Identifier: MIT
 *
 * test_optimizers.c -- the programs of sgd and lion, run by the float
 * reference, against the same written out in double over 100 steps; the
 * guard, decay by rank, and what they refuse.
 */
#include "eager.h"

#define N 40
#define STEPS 100
#define RATE 2e-3
#define DECAY 0.1
#define MOMENTUM 0.9
#define BETA1 0.9
#define BETA2 0.99

static const hone_component *optimizer(const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, HONE_BUILD "/lib/hone/plugins/%s.so",
                   name);
    return eager_plugin(path)->components[0];
}

/* A matrix and a vector of N numbers each under one optimizer. */
typedef struct bench {
    eager e;
    const hone_optimizer *ops;
    uint64_t config[16];
    hone_id param[2], grad[2], m[2];
    hone_type type[2];
    hone_group group;
} bench;

static void bench_open(bench *b, const char *name, const hone_attr *attrs,
                       uint32_t n_attrs, uint32_t n_states)
{
    const hone_component *c = optimizer(name);
    hone_state_spec spec[HONE_MAX_STATES];
    hone_id *scalars[4];
    uint32_t count = 9;
    hone_err err;
    int i;

    eager_open(&b->e, HONE_F32);
    assert_true(c->config_size <= sizeof b->config);
    eager_attrs(c, attrs, n_attrs, b->config);
    b->ops = c->ops;
    b->type[0] = hone_type_of(HONE_F32, 2, N / 4, 4);
    b->type[1] = hone_type_of(HONE_F32, 1, N, 1);
    b->group = (hone_group){ .size = sizeof b->group, .count = 2,
                             .param = b->param, .grad = b->grad,
                             .type = b->type };
    for (i = 0; i < 2; i++) {
        assert_int_equal(b->ops->states(b->config, "w", &b->type[i], spec,
                                        &count, &err), 0);
        assert_int_equal(count, n_states);
        eager_draw(&b->e, b->param[i] = eager_new(&b->e, b->type[i]));
        b->grad[i] = eager_new(&b->e, b->type[i]);
        if (count)
            b->m[i] = eager_new(&b->e, spec[0].type);
    }
    if (n_states)
        b->group.state[0] = b->m;
    scalars[0] = &b->group.lr;
    scalars[1] = &b->group.t;
    scalars[2] = &b->group.clip;
    scalars[3] = &b->group.ok;
    for (i = 0; i < 4; i++)
        *scalars[i] = eager_new(&b->e, hone_type_of(HONE_F32, 1, 1, 1));
}

static void bench_step(bench *b, int t, double lr, double clip, int ok)
{
    hone_err err = { HONE_OK, "" };
    int i;
    for (i = 0; i < 2; i++)
        eager_draw(&b->e, b->grad[i]);
    eager_set(&b->e, b->group.lr, 0, lr);
    eager_set(&b->e, b->group.t, 0, t);
    eager_set(&b->e, b->group.clip, 0, clip);
    eager_set(&b->e, b->group.ok, 0, ok);
    if (b->ops->update(b->config, &b->e.builder, &b->group, &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

/* One number under each optimizer, in double. */
typedef void exact_step(double *p, double *m, double g, double lr,
                        double decay);

static void exact_plain(double *p, double *m, double g, double lr,
                        double decay)
{
    (void)m;
    *p -= lr * (g + decay * *p);
}

static void exact_momentum(double *p, double *m, double g, double lr,
                           double decay)
{
    *m = MOMENTUM * *m + g + decay * *p;
    *p -= lr * *m;
}

static void exact_nesterov(double *p, double *m, double g, double lr,
                           double decay)
{
    double d = g + decay * *p;
    *m = MOMENTUM * *m + d;
    *p -= lr * (d + MOMENTUM * *m);
}

static void exact_lion(double *p, double *m, double g, double lr, double decay)
{
    double c = BETA1 * *m + (1 - BETA1) * g;
    *p -= lr * ((c > 0) - (c < 0) + decay * *p);
    *m = BETA2 * *m + (1 - BETA2) * g;
}

/* Largest error relative to the largest parameter after STEPS steps. */
static double hundred_steps(bench *b, exact_step *exact)
{
    double p[2][N], m[2][N] = { { 0 } }, worst = 0, most = 0;
    int t, i, k;

    for (k = 0; k < 2; k++)
        for (i = 0; i < N; i++)
            p[k][i] = eager_get(&b->e, b->param[k], i);
    for (t = 1; t <= STEPS; t++) {
        double lr = (float)(RATE * t / STEPS), clip = t % 3 ? 1 : 0.25;
        bench_step(b, t, lr, clip, 1);
        for (k = 0; k < 2; k++)
            for (i = 0; i < N; i++)
                exact(&p[k][i], &m[k][i],
                      clip * eager_get(&b->e, b->grad[k], i), lr,
                      k == 0 ? DECAY : 0);
    }
    for (k = 0; k < 2; k++)
        for (i = 0; i < N; i++) {
            worst = fmax(worst,
                         fabs(eager_get(&b->e, b->param[k], i) - p[k][i]));
            most = fmax(most, fabs(p[k][i]));
        }
    return worst / most;
}

static const hone_attr sgd_attrs[] = { { "weight_decay", DECAY, NULL },
                                       { "momentum", MOMENTUM, NULL },
                                       { "nesterov", 1, NULL } };
static const hone_attr lion_attrs[] = { { "weight_decay", DECAY, NULL },
                                        { "state", 0, "fp32" } };
static const hone_attr lion_bf16[] = { { "weight_decay", DECAY, NULL },
                                       { "state", 0, "bf16" } };

static void sgd_agrees_with_double(void **state)
{
    static exact_step *const exact[] = { exact_plain, exact_momentum,
                                         exact_nesterov };
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        bench b;
        bench_open(&b, "sgd", sgd_attrs, i + 1, i > 0);
        assert_true(hundred_steps(&b, exact[i]) < 1e-6);
        eager_close(&b.e);
    }
}

static void lion_agrees_with_double(void **state)
{
    bench b;
    (void)state;
    bench_open(&b, "lion", lion_attrs, 2, 1);
    assert_true(hundred_steps(&b, exact_lion) < 1e-6);
    eager_close(&b.e);
}

/* A rounded momentum turns few signs, each worth two steps. */
static void lion_may_hold_bf16(void **state)
{
    bench b;
    (void)state;
    bench_open(&b, "lion", lion_bf16, 2, 1);
    assert_int_equal(b.e.t[b.m[0]].type.storage, HONE_BF16);
    assert_true(hundred_steps(&b, exact_lion) < 2e-2);
    eager_close(&b.e);
}

static void stands_still(const char *name, const hone_attr *attrs, uint32_t n)
{
    hone_id before, momentum;
    bench b;

    bench_open(&b, name, attrs, n, 1);
    bench_step(&b, 1, RATE, 1, 1);
    before = eager_new(&b.e, b.type[0]);
    momentum = eager_new(&b.e, b.type[0]);
    memcpy(b.e.t[before].ptr.part[0], b.e.t[b.param[0]].ptr.part[0],
           N * sizeof(float));
    memcpy(b.e.t[momentum].ptr.part[0], b.e.t[b.m[0]].ptr.part[0],
           N * sizeof(float));
    bench_step(&b, 2, RATE, NAN, 0);
    assert_true(eager_error(&b.e, b.param[0], &b.e, before) == 0);
    assert_true(eager_error(&b.e, b.m[0], &b.e, momentum) == 0);
    eager_close(&b.e);
}

static void nothing_moves_when_a_step_is_not_ok(void **state)
{
    (void)state;
    stands_still("sgd", sgd_attrs, 3);
    stands_still("lion", lion_attrs, 2);
}

static void nesterov_needs_momentum(void **state)
{
    const hone_component *c = optimizer("sgd");
    const hone_optimizer *ops = c->ops;
    const hone_attr nesterov = { "nesterov", 1, NULL };
    const hone_type type = hone_type_of(HONE_F32, 1, 4, 1);
    hone_state_spec spec[HONE_MAX_STATES];
    uint64_t config[16];
    uint32_t count;
    hone_err err;
    (void)state;
    eager_attrs(c, &nesterov, 1, config);
    assert_int_equal(ops->states(config, "w", &type, spec, &count, &err),
                     HONE_EINVAL);
    assert_non_null(strstr(err.msg, "momentum"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd_agrees_with_double),
        cmocka_unit_test(lion_agrees_with_double),
        cmocka_unit_test(lion_may_hold_bf16),
        cmocka_unit_test(nothing_moves_when_a_step_is_not_ok),
        cmocka_unit_test(nesterov_needs_momentum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
