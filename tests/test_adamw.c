/* SPDX-License-Identifier: MIT
 *
 * test_adamw.c -- the optimizer's programs, run by the float reference,
 * against AdamW written out in double over 100 steps; decay by rank, the
 * guard, states in bf16 and in eight bits.
 */
#include "eager.h"
#include "mapfixed.h"

#define N 40
#define MOST 5000
#define STEPS 100
#define RATE 2e-3
#define BETA1 0.9
#define BETA2 0.999
#define EPS 1e-8
#define DECAY 0.1

static const hone_component *adamw(void)
{
    static const hone_plugin *plugin;
    if (!plugin)
        plugin = eager_plugin(HONE_BUILD "/lib/hone/plugins/adamw.so");
    return plugin->components[0];
}

/* A matrix and a vector of n numbers each under one optimizer. */
typedef struct bench {
    eager e;
    uint64_t config[16];
    hone_id param[2], grad[2], m[2], v[2];
    hone_type type[2];
    hone_group group;
} bench;

static void bench_open(bench *b, const char *state, int n)
{
    const hone_attr attrs[] = { { "lr", RATE, NULL },
                                { "weight_decay", DECAY, NULL },
                                { "state", 0, state } };
    const hone_optimizer *ops = adamw()->ops;
    hone_state_spec spec[HONE_MAX_STATES];
    hone_id *scalars[4];
    uint32_t count = 0;
    hone_err err;
    int i;

    eager_open(&b->e, HONE_F32);
    assert_true(adamw()->config_size <= sizeof b->config);
    eager_attrs(adamw(), attrs, 3, b->config);
    b->type[0] = hone_type_of(HONE_F32, 2, n / 4, 4);
    b->type[1] = hone_type_of(HONE_F32, 1, n, 1);
    for (i = 0; i < 2; i++) {
        assert_int_equal(ops->states(b->config, "w", &b->type[i], spec,
                                     &count, &err), 0);
        assert_int_equal(count, 2);
        eager_draw(&b->e, b->param[i] = eager_new(&b->e, b->type[i]));
        b->grad[i] = eager_new(&b->e, b->type[i]);
        b->m[i] = eager_new(&b->e, spec[0].type);
        b->v[i] = eager_new(&b->e, spec[1].type);
    }
    b->group = (hone_group){ .size = sizeof b->group, .count = 2,
                             .param = b->param, .grad = b->grad,
                             .state = { b->m, b->v }, .type = b->type };
    scalars[0] = &b->group.lr;
    scalars[1] = &b->group.t;
    scalars[2] = &b->group.clip;
    scalars[3] = &b->group.ok;
    for (i = 0; i < 4; i++)
        *scalars[i] = eager_new(&b->e, hone_type_of(HONE_F32, 1, 1, 1));
}

static void bench_step(bench *b, int t, double lr, double clip, int ok)
{
    const hone_optimizer *ops = adamw()->ops;
    hone_err err = { HONE_OK, "" };
    int i;
    for (i = 0; i < 2; i++)
        eager_draw(&b->e, b->grad[i]);
    eager_set(&b->e, b->group.lr, 0, lr);
    eager_set(&b->e, b->group.t, 0, t);
    eager_set(&b->e, b->group.clip, 0, clip);
    eager_set(&b->e, b->group.ok, 0, ok);
    if (ops->update(b->config, &b->e.builder, &b->group, &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

/* One number, as torch.optim.AdamW treats it, in double. */
static void exact(double *p, double *m, double *v, double g, int t, double lr,
                  double decay)
{
    *p -= lr * decay * *p;
    *m += (1 - BETA1) * (g - *m);
    *v = BETA2 * *v + (1 - BETA2) * g * g;
    *p -= lr / (1 - pow(BETA1, t)) * *m /
          (sqrt(*v) / sqrt(1 - pow(BETA2, t)) + EPS);
}

/* Largest error relative to the largest parameter after STEPS steps. */
static double hundred_steps(const char *state, int n)
{
    static double p[2][MOST], m[2][MOST], v[2][MOST];
    double worst = 0, most = 0;
    int t, i, k;
    bench b;

    memset(m, 0, sizeof m);
    memset(v, 0, sizeof v);
    bench_open(&b, state, n);
    for (k = 0; k < 2; k++)
        for (i = 0; i < n; i++)
            p[k][i] = eager_get(&b.e, b.param[k], i);
    for (t = 1; t <= STEPS; t++) {
        double lr = (float)(RATE * t / STEPS), clip = t % 3 ? 1 : 0.25;
        bench_step(&b, t, lr, clip, 1);
        for (k = 0; k < 2; k++)
            for (i = 0; i < n; i++)
                exact(&p[k][i], &m[k][i], &v[k][i],
                      clip * eager_get(&b.e, b.grad[k], i), t, lr,
                      k == 0 ? DECAY : 0);
    }
    for (k = 0; k < 2; k++)
        for (i = 0; i < n; i++) {
            worst = fmax(worst,
                         fabs(eager_get(&b.e, b.param[k], i) - p[k][i]));
            most = fmax(most, fabs(p[k][i]));
        }
    eager_close(&b.e);
    return worst / most;
}

static void agrees_with_double_over_100_steps(void **state)
{
    (void)state;
    assert_true(hundred_steps("fp32", N) < 1e-6);
}

/* bf16 keeps 8 bits of a state: near, and not the same. */
static void states_may_be_bf16(void **state)
{
    double error = hundred_steps("bf16", N);
    (void)state;
    assert_true(error > 1e-6 && error < 2e-2);
}

static void nothing_moves_when_a_step_is_not_ok(void **state)
{
    hone_id before;
    bench b;
    (void)state;
    bench_open(&b, "fp32", N);
    bench_step(&b, 1, RATE, 1, 1);
    before = eager_new(&b.e, b.type[0]);
    memcpy(b.e.t[before].ptr.part[0], b.e.t[b.param[0]].ptr.part[0],
           N * sizeof(float));
    bench_step(&b, 2, RATE, NAN, 0);
    assert_true(eager_error(&b.e, b.param[0], &b.e, before) == 0);
    eager_close(&b.e);
}

static char program[2][512];
static int programs;

static hone_status note_program(hone_builder *b, const char *op,
                                const char *name, const hone_attr *attrs,
                                uint32_t n_attrs, const hone_id *in,
                                uint32_t nin, hone_id *out, uint32_t nout,
                                hone_err *err)
{
    if (nout > 2)
        (void)snprintf(program[programs++], sizeof *program, "%s",
                       attrs[0].str);
    return eager_emit(b, op, name, attrs, n_attrs, in, nin, out, nout, err);
}

/* Those that the CUDA pack has compiled; others would be interpreted. */
static void its_programs_are_those_compiled(void **state)
{
    bench b;
    (void)state;
    bench_open(&b, "fp32", N);
    b.e.builder.emit = note_program;
    bench_step(&b, 1, RATE, 1, 1);
    eager_close(&b.e);
    assert_int_equal(programs, 2);
    assert_true(map_is(program[0], MAP_ADAM_DECAY));
    assert_true(map_is(program[1], MAP_ADAM));
    assert_false(map_is(program[0], MAP_ADAM));
    assert_false(map_is("x0 s2 * =r0", MAP_ADAM));
}

/* Nearer than bf16, for each block has a scale; small tensors keep fp32. */
static void states_may_be_eight_bits(void **state)
{
    double error = hundred_steps("int8", MOST);
    (void)state;
    assert_true(error > 1e-4 && error < 3e-3);
    assert_true(hundred_steps("int8", N) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_double_over_100_steps),
        cmocka_unit_test(states_may_be_bf16),
        cmocka_unit_test(nothing_moves_when_a_step_is_not_ok),
        cmocka_unit_test(its_programs_are_those_compiled),
        cmocka_unit_test(states_may_be_eight_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
