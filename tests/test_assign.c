/* SPDX-License-Identifier: MIT
 *
 * test_assign.c -- which kernel a node gets, and the conversions around one
 * that takes another storage than its operands have.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"
#include "passes.h"
#include "registry.h"

enum { N = 4 };

static const hone_component *cpu[2]; /* the CPU's pack */
static const hone_device_info host = { .size = sizeof host, .name = "test",
                                       .is_host = 1, .threads = 1 };
static const hone_device_info card = { .size = sizeof card, .name = "card",
                                       .threads = 1 };

/* A pack for silu alone, which takes and gives bf16. */
static hone_status halves(const hone_call *c, int threads, hone_need *need,
                          hone_err *err)
{
    (void)threads;
    (void)err;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        need->want[i] = HONE_BF16;
    return HONE_OK;
}

static const hone_kernel half_kernels[] = { { "silu", halves, NULL, NULL },
                                            { NULL, NULL, NULL, NULL } };
static const hone_pack half_pack = { .size = sizeof half_pack,
                                     .device = "test",
                                     .kernels = half_kernels };
static const hone_component half = { .size = sizeof half,
                                     .kind = HONE_KIND_PACK, .name = "half",
                                     .ops = &half_pack };

static void begin(hone_graph *g, hone_arena *a)
{
    memset(a, 0, sizeof *a);
    hone_graph_init(g, a, a, HONE_F32);
}

static hone_id matrix(hone_graph *g, const char *name, hone_storage s,
                      hone_tensor_kind kind)
{
    return hone_graph_tensor(g, name, hone_type_of(s, 2, N, N), kind);
}

static hone_id op(hone_graph *g, const char *name, hone_id a, hone_id b,
                  hone_id to)
{
    hone_id in[2] = { a, b };
    hone_err err;

    if (hone_graph_op(g, name, name, NULL, 0, in, b == HONE_NONE ? 1 : 2, &to,
                      1, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    return to;
}

static void assert_op(const hone_graph *g, int n, const char *name)
{
    assert_true(n < g->nodes);
    assert_string_equal(g->node[n].component->name, name);
    assert_non_null(g->node[n].kernel);
}

/* Weights in bf16 become fp32 beside each call that reads them. */
static void test_inputs_are_converted(void **state)
{
    hone_arena arena;
    hone_graph g;
    hone_err err;
    hone_id x, w, y;

    (void)state;
    begin(&g, &arena);
    x = matrix(&g, "x", HONE_F32, HONE_T_INPUT);
    w = matrix(&g, "w", HONE_BF16, HONE_T_PARAM);
    y = op(&g, "linear", x, w, HONE_NONE);
    y = op(&g, "silu", y, HONE_NONE, HONE_NONE);
    op(&g, "linear_dx", y, w, HONE_NONE);
    g.node[1].layer = 3;
    g.node[2].layer = 3;
    assert_int_equal(hone_pass_assign(&g, cpu, &host, 0, &err), HONE_OK);
    assert_int_equal(g.nodes, 5);
    assert_op(&g, 0, "convert");
    assert_op(&g, 1, "linear");
    assert_op(&g, 2, "silu");
    assert_op(&g, 3, "convert");
    assert_op(&g, 4, "linear_dx");
    for (int n = 0; n < 5; n += 3) {
        assert_int_equal(g.node[n].in[0], w);
        assert_int_equal(g.node[n + 1].in[1], g.node[n].out[0]);
        assert_int_equal(g.tensor[g.node[n].out[0]].type.storage, HONE_F32);
    }
    assert_int_not_equal(g.node[0].out[0], g.node[3].out[0]);
    assert_int_equal(g.node[3].layer, 3);
    hone_arena_free(&arena);
}

/* Another pack's bf16 goes in and comes out through conversions. */
static void test_outputs_are_converted(void **state)
{
    const hone_component *packs[] = { &half, cpu[0], NULL };
    hone_arena arena;
    hone_graph g;
    hone_err err;
    hone_id y;

    (void)state;
    begin(&g, &arena);
    y = matrix(&g, "y", HONE_F32, HONE_T_STATE);
    op(&g, "silu", matrix(&g, "x", HONE_F32, HONE_T_INPUT), HONE_NONE, y);
    assert_int_equal(hone_pass_assign(&g, packs, &host, 0, &err), HONE_OK);
    assert_int_equal(g.nodes, 3);
    assert_op(&g, 0, "convert");
    assert_op(&g, 1, "silu");
    assert_op(&g, 2, "convert");
    assert_string_equal(g.node[1].pack, "half");
    assert_int_equal(g.node[2].in[0], g.node[1].out[0]);
    assert_int_equal(g.node[2].out[0], y);
    assert_int_equal(g.tensor[g.node[1].out[0]].type.storage, HONE_BF16);
    hone_arena_free(&arena);
}

static void test_what_is_added_to_is_not_converted(void **state)
{
    const hone_component *packs[] = { &half, cpu[0], NULL };
    hone_arena arena;
    hone_graph g;
    hone_err err;

    (void)state;
    begin(&g, &arena);
    op(&g, "silu", matrix(&g, "x", HONE_BF16, HONE_T_INPUT), HONE_NONE,
       matrix(&g, "y", HONE_F32, HONE_T_STATE));
    g.node[0].acc[0] = g.node[0].out[0];
    assert_int_equal(hone_pass_assign(&g, packs, &host, 0, &err), HONE_ENOSUP);
    assert_string_equal(err.msg, "silu: pack half takes no f32 where it "
                                 "updates or adds; name another pack before "
                                 "it");
    hone_arena_free(&arena);
}

static void test_nobody_covers_it(void **state)
{
    const hone_component *none[] = { NULL };
    hone_arena arena;
    hone_graph g;
    hone_err err;

    (void)state;
    begin(&g, &arena);
    op(&g, "silu", matrix(&g, "x", HONE_F32, HONE_T_INPUT), HONE_NONE,
       HONE_NONE);
    assert_int_equal(hone_pass_assign(&g, none, &card, 0, &err), HONE_ENOSUP);
    assert_string_equal(err.msg, "no pack for card covers op silu (silu); hone "
                                 "plugins lists the packs");
    hone_arena_free(&arena);
}

/* A pack of codes: swiglu writes its result twice, linear reads it so;
 * linear_dx wants the weight turned, rows as they are. */
static hone_status codes(const hone_call *c, int threads, hone_need *need,
                         hone_err *err)
{
    int is_dx = !strcmp(c->op, "linear_dx");

    (void)threads;
    need->twice = !strcmp(c->op, "swiglu") && c->nout == 2;
    if (need->twice || !strcmp(c->op, "convert"))
        return HONE_OK;
    if (!strcmp(c->op, "swiglu"))
        return hone_fail(err, HONE_ENOSUP, "nothing is coded");
    if (c->type[1].storage == HONE_F32)
        return hone_fail(err, HONE_ENOSUP, "the weight is not coded");
    need->want[!is_dx ? 0 : 1] = is_dx ? HONE_FP8_TURNED : HONE_FP8;
    return HONE_OK;
}

static const hone_kernel codes_kernels[] = { { "swiglu", codes, NULL, NULL },
                                             { "linear", codes, NULL, NULL },
                                             { "linear_dx", codes, NULL, NULL },
                                             { "convert", codes, NULL, NULL },
                                             { NULL, NULL, NULL, NULL } };
static const hone_pack codes_pack = { .size = sizeof codes_pack,
                                      .device = "test",
                                      .kernels = codes_kernels };
static const hone_component coding = { .size = sizeof coding,
                                       .kind = HONE_KIND_PACK, .name = "codes",
                                       .ops = &codes_pack };

/* Two linears in the layers LAYER of what one swiglu in layer 3 makes. */
static void two_readers(hone_graph *g, hone_arena *a, int layer)
{
    const hone_component *packs[] = { &coding, cpu[0], NULL };
    hone_id y;
    hone_err err;

    begin(g, a);
    y = op(g, "swiglu", matrix(g, "gate", HONE_F32, HONE_T_INPUT),
           matrix(g, "up", HONE_F32, HONE_T_INPUT), HONE_NONE);
    op(g, "linear", y, matrix(g, "v", HONE_FP8, HONE_T_PARAM), HONE_NONE);
    op(g, "linear", y, matrix(g, "w", HONE_FP8, HONE_T_PARAM), HONE_NONE);
    g->node[0].layer = 3;
    g->node[1].layer = g->node[2].layer = layer;
    assert_int_equal(hone_pass_assign(g, packs, &host, 0, &err), HONE_OK);
}

static void test_what_is_written_twice(void **state)
{
    hone_arena arena;
    hone_graph g;

    (void)state;
    two_readers(&g, &arena, 4);
    assert_int_equal(g.nodes, 3);
    assert_string_equal(g.node[0].pack, "codes");
    assert_int_equal(g.node[0].nout, 2);
    assert_int_equal(g.node[0].acc[1], HONE_NONE);
    assert_int_equal(g.tensor[g.node[0].out[0]].type.storage, HONE_F32);
    assert_int_equal(g.tensor[g.node[0].out[1]].type.storage, HONE_FP8);
    assert_int_equal(g.node[1].in[0], g.node[0].out[1]);
    assert_int_equal(g.node[2].in[0], g.node[0].out[1]);
    hone_arena_free(&arena);
    /* Further on it would have to be kept: each makes its own. */
    two_readers(&g, &arena, 5);
    assert_int_equal(g.nodes, 5);
    assert_int_equal(g.node[0].nout, 1);
    assert_op(&g, 1, "convert");
    assert_op(&g, 3, "convert");
    hone_arena_free(&arena);
}

/* A frozen weight in codes is held a second time, or turned at each use. */
static void test_images_of_codes(void **state)
{
    const hone_component *packs[] = { &coding, cpu[0], NULL };
    hone_arena arena;
    hone_graph g;
    hone_err err;

    (void)state;
    for (int images = 0; images <= HONE_IMAGES_FROZEN; images++) {
        int held = images == HONE_IMAGES_FROZEN;
        hone_id w, read;

        begin(&g, &arena);
        w = matrix(&g, "w", HONE_FP8, HONE_T_PARAM);
        op(&g, "linear_dx", matrix(&g, "x", HONE_F32, HONE_T_INPUT), w,
           HONE_NONE);
        assert_int_equal(hone_pass_assign(&g, packs, &host, images, &err),
                         HONE_OK);
        assert_int_equal(g.nodes, held ? 1 : 2);
        read = g.node[g.nodes - 1].in[1];
        assert_int_equal(g.tensor[read].type.storage, HONE_FP8_TURNED);
        assert_int_equal(g.tensor[read].kind,
                         held ? HONE_T_IMAGE : HONE_T_TEMP);
        if (held)
            assert_string_equal(g.tensor[read].alias, "w");
        else
            assert_int_equal(g.node[0].in[0], w);
        hone_arena_free(&arena);
    }
}

/* Where losses are those of the weights, products see numbers alone. */
static void test_codes_become_numbers(void **state)
{
    const hone_component *packs[] = { &coding, cpu[0], NULL };
    hone_arena arena;
    hone_graph g;
    hone_err err;
    hone_id w;

    (void)state;
    begin(&g, &arena);
    w = matrix(&g, "w", HONE_FP8, HONE_T_PARAM);
    op(&g, "linear", matrix(&g, "x", HONE_F32, HONE_T_INPUT), w, HONE_NONE);
    g.decoded = 1;
    assert_int_equal(hone_pass_assign(&g, packs, &host, HONE_IMAGES_FROZEN,
                                      &err), HONE_OK);
    assert_int_equal(g.nodes, 2);
    assert_string_equal(g.node[0].component->name, "convert");
    assert_int_equal(g.node[0].in[0], w);
    for (int i = 0; i < 2; i++)
        assert_int_equal(g.tensor[g.node[1].in[i]].type.storage, HONE_F32);
    hone_arena_free(&arena);
}

/* On the host the reference is the last resort, in float and in double. */
static void test_the_reference_runs(void **state)
{
    const hone_component *none[] = { NULL };

    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        hone_storage s = wide ? HONE_F64 : HONE_F32;
        double x[2][N * N] = { { 0 } };
        float *f = (float *)x[0];
        hone_ptr ptr[2] = { { { x[0] } }, { { x[1] } } };
        hone_arena arena;
        hone_graph g;
        hone_call call;
        hone_err err;
        void *prepared;
        double y;

        begin(&g, &arena);
        g.compute = s;
        op(&g, "silu", matrix(&g, "x", s, HONE_T_INPUT), HONE_NONE, HONE_NONE);
        assert_int_equal(hone_pass_assign(&g, none, &host, 0, &err), HONE_OK);
        call = hone_node_call(&g, &g.node[0]);
        prepared = hone_alloc(&arena, (size_t)g.node[0].prepared_bytes);
        assert_int_equal(g.node[0].kernel->init(&call, 1, NULL, prepared,
                                                &err), HONE_OK);
        for (int i = 0; i < N * N; i++)
            if (wide)
                x[0][i] = 2;
            else
                f[i] = 2;
        g.node[0].kernel->run(prepared, ptr, NULL, NULL);
        y = wide ? x[1][N] : (double)((float *)x[1])[N];
        assert_true(fabs(y - 2 / (1 + exp(-2))) < (wide ? 1e-15 : 1e-6));
        hone_arena_free(&arena);
    }
}

/* It takes no codes, and who asked for it hears that. */
static void test_no_reference_of_codes(void **state)
{
    const hone_component *none[] = { NULL };
    hone_arena arena;
    hone_graph g;
    hone_err err = { 0 };

    (void)state;
    begin(&g, &arena);
    op(&g, "silu", matrix(&g, "x", HONE_FP8, HONE_T_PARAM), HONE_NONE,
       HONE_NONE);
    assert_int_equal(hone_pass_assign(&g, none, &host, 0, &err), HONE_ENOSUP);
    assert_int_equal(err.code, HONE_ENOSUP);
    assert_non_null(strstr(err.msg, "covers op silu"));
    hone_arena_free(&arena);
}

static int open_registry(void **state)
{
    hone_err err;

    (void)state;
    unsetenv("HONE_PLUGIN_PATH");
    hone_log_level(HONE_LOG_ERROR);
    if (hone_registry_open(NULL, &err) != HONE_OK)
        return -1;
    cpu[0] = hone_find(HONE_KIND_PACK, "cpu");
    return cpu[0] ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inputs_are_converted),
        cmocka_unit_test(test_outputs_are_converted),
        cmocka_unit_test(test_what_is_added_to_is_not_converted),
        cmocka_unit_test(test_nobody_covers_it),
        cmocka_unit_test(test_what_is_written_twice),
        cmocka_unit_test(test_images_of_codes),
        cmocka_unit_test(test_codes_become_numbers),
        cmocka_unit_test(test_the_reference_runs),
        cmocka_unit_test(test_no_reference_of_codes),
    };
    return cmocka_run_group_tests(tests, open_registry, NULL);
}
