/* SPDX-License-Identifier: MIT
 *
 * test_sharing.c -- passes that spare memory traffic, by what the graph is
 * afterwards: calls that read one tensor are grouped, what a gradient makes
 * again is not kept, the larger of two products adds into the smaller, logits
 * are made in chunks. That values stay the same is test_passes' and test_train's business.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "machine.h"
#include "passes.h"
#include "registry.h"

enum { T = 16, WIDE = 64, NARROW = 8 };

static hone_machine machine;
static hone_arena forever, arena;
static hone_graph g;

static void begin(void)
{
    hone_arena_free(&arena);
    memset(&g, 0, sizeof g);
    hone_graph_init(&g, &arena, &arena, HONE_F32);
}

static hone_id tensor(const char *name, hone_tensor_kind kind, int64_t rows,
                      int64_t cols)
{
    hone_id id = hone_graph_tensor(&g, name, hone_type_of(HONE_F32, 2, rows,
                                                          cols), kind);

    g.tensor[id].trainable = kind == HONE_T_PARAM;
    return id;
}

static hone_id scaled(const char *op, hone_id a, hone_id b, double scale)
{
    hone_attr attr = { "scale", scale, NULL };
    hone_id in[2] = { a, b }, out = HONE_NONE;
    hone_err err;

    if (hone_graph_op(&g, op, NULL, scale == 1 ? NULL : &attr, scale != 1, in,
                      b == HONE_NONE ? 1 : 2, &out, 1, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    return out;
}

static hone_id op(const char *name, hone_id a, hone_id b)
{
    return scaled(name, a, b, 1);
}

static int find(const char *name, int from)
{
    for (int n = from; n < g.nodes; n++)
        if (!strcmp(g.node[n].component->name, name))
            return n;
    return -1;
}

static int reads(const hone_node *node, hone_id id)
{
    for (uint32_t i = 0; i < node->nin; i++)
        if (node->in[i] == id)
            return 1;
    return 0;
}

/* A pack that takes lists of narrow linears, sums and pairs of their
 * gradients, and swiglu_regrad. */
static hone_status narrow_only(const hone_call *c, int threads, hone_need *need,
                               hone_err *err)
{
    (void)threads;
    (void)need;
    if (!strcmp(c->op, "linear_dx_sum")) {
        for (uint32_t i = 0; i < c->nin; i += 2)
            if (c->type[i].dim[1] > NARROW)
                return hone_fail(err, HONE_ENOSUP, "wide");
        return HONE_OK;
    }
    for (uint32_t i = 0; i < c->nout; i++)
        if (c->type[c->nin + i].dim[1] > NARROW &&
            c->type[c->nin + i].dim[0] > NARROW &&
            strcmp(c->op, "swiglu_regrad"))
            return hone_fail(err, HONE_ENOSUP, "wide");
    return HONE_OK;
}

static hone_status anything(const hone_call *c, int threads, hone_need *need,
                            hone_err *err)
{
    (void)c;
    (void)threads;
    (void)need;
    (void)err;
    return HONE_OK;
}

/* swiglu, and between factors, where what comes behind is narrow, too. */
static hone_status narrow_behind(const hone_call *c, int threads,
                                 hone_need *need, hone_err *err)
{
    (void)threads;
    (void)need;
    return c->nin < 7 || c->type[6].dim[0] <= NARROW
               ? HONE_OK : hone_fail(err, HONE_ENOSUP, "wide");
}

static const hone_kernel kernels[] = {
    { "linear_list", narrow_only, NULL, NULL },
    { "linear_dw_list", narrow_only, NULL, NULL },
    { "linear_grads", narrow_only, NULL, NULL },
    { "linear_dx_sum", narrow_only, NULL, NULL },
    { "swiglu_regrad", narrow_only, NULL, NULL },
    { "rmsnorm_grads", anything, NULL, NULL },
    { "swiglu", narrow_behind, NULL, NULL },
    { "swiglu_factors", narrow_behind, NULL, NULL },
    { NULL, NULL, NULL, NULL }
};
static const hone_pack pack = { sizeof pack, "cpu", kernels, 0 };
static const hone_component component = { .size = sizeof component,
                                          .kind = HONE_KIND_PACK,
                                          .name = "narrow", .help = "",
                                          .ops = &pack };
static const hone_component *const packs[] = { &component, NULL };
static const hone_component *const none[] = { NULL };

/* ------------------------------------------------------------------ groups */

static void factors(hone_id *out)
{
    hone_id x = tensor("x", HONE_T_INPUT, T, WIDE);
    char name[8];

    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "a%d", i);
        out[i] = op("linear", x, tensor(name, HONE_T_PARAM, NARROW, WIDE));
    }
    out[3] = op("linear", x, tensor("w", HONE_T_PARAM, WIDE, WIDE));
}

static void test_group_what_is_covered(void **state)
{
    hone_id out[4];
    hone_err err;

    (void)state;
    begin();
    factors(out);
    assert_int_equal(hone_pass_group(&g, none, &err), HONE_OK);
    assert_int_equal(g.nodes, 4);
    assert_int_equal(hone_pass_group(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 2); /* the wide one is by itself */
    assert_string_equal(g.node[0].component->name, "linear_list");
    assert_int_equal(g.node[0].nin, 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(g.node[0].out[i], out[i]);
    assert_int_equal(g.node[1].out[0], out[3]);
}

/* Lists of weights as codes, and of nothing else. */
static hone_status codes_only(const hone_call *c, int threads, hone_need *need,
                              hone_err *err)
{
    (void)threads;
    (void)need;
    return c->type[1].storage == HONE_FP8
               ? HONE_OK : hone_fail(err, HONE_ENOSUP, "no codes");
}

static const hone_kernel code_kernels[] = {
    { "linear_list", codes_only, NULL, NULL }, { NULL, NULL, NULL, NULL }
};
static const hone_pack code_pack = { sizeof code_pack, "cpu", code_kernels, 0 };
static const hone_component codes = { .size = sizeof codes,
                                      .kind = HONE_KIND_PACK,
                                      .name = "codes", .help = "",
                                      .ops = &code_pack };

/* Where weights become numbers before they are used, packs are asked for
 * numbers: a list that takes codes alone would find none. */
static void test_group_as_it_will_be(void **state)
{
    const hone_component *const list[] = { &codes, NULL };

    (void)state;
    for (int decoded = 0; decoded < 2; decoded++) {
        hone_id out[4];
        hone_err err;

        begin();
        factors(out);
        for (hone_id i = 0; i < g.tensors; i++)
            if (g.tensor[i].kind == HONE_T_PARAM)
                g.tensor[i].type.storage = HONE_FP8;
        g.decoded = decoded;
        assert_int_equal(hone_pass_group(&g, list, &err), HONE_OK);
        assert_int_equal(g.nodes, decoded ? 4 : 1);
    }
}

static void test_group_only_alike(void **state)
{
    hone_err err;
    hone_id x, a, b;

    (void)state;
    begin();
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    a = tensor("a", HONE_T_PARAM, NARROW, WIDE);
    b = tensor("b", HONE_T_PARAM, NARROW, WIDE);
    scaled("linear", x, a, 2);
    scaled("linear", x, b, 3);
    op("linear", tensor("other", HONE_T_INPUT, T, WIDE), b);
    assert_int_equal(hone_pass_group(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 3);
}

/* Sums into gradients stand where the last of them stood. */
static void test_group_later(void **state)
{
    hone_id x, one, two, out[2];
    hone_err err;

    (void)state;
    begin();
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    one = tensor("one", HONE_T_INPUT, T, NARROW);
    out[0] = op("linear_dw", one, x);
    two = op("add", one, one);
    out[1] = op("linear_dw", two, x);
    assert_int_equal(hone_pass_group(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 2);
    assert_string_equal(g.node[1].component->name, "linear_dw_list");
    assert_int_equal(g.node[1].in[0], x);
    assert_int_equal(g.node[1].out[0], out[0]);
    assert_int_equal(g.node[1].out[1], out[1]);
}

/* One that is read before the other can be computed stays by itself. */
static void test_group_not_across_a_reader(void **state)
{
    hone_id x, one, first;
    hone_err err;

    (void)state;
    begin();
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    one = tensor("one", HONE_T_INPUT, T, NARROW);
    first = op("linear_dw", one, x);
    op("linear_dw", op("linear", x, first), x);
    assert_int_equal(hone_pass_group(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 3);
}

/* Both gradients of y = u B^T read dy; those of a wide one stay apart. */
static void test_pair_from_one_reading(void **state)
{
    hone_id dy, b, u, w, x, dx, dw;
    hone_err err;

    (void)state;
    begin();
    dy = tensor("dy", HONE_T_INPUT, T, WIDE);
    b = tensor("b", HONE_T_PARAM, WIDE, NARROW);
    u = tensor("u", HONE_T_INPUT, T, NARROW);
    w = tensor("w", HONE_T_PARAM, WIDE, WIDE);
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    dx = op("linear_dx", dy, b);
    dw = op("linear_dw", dy, u);
    op("linear_dx", dy, w);
    op("linear_dw", dy, x);
    assert_int_equal(hone_pass_group(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 3);
    assert_string_equal(g.node[0].component->name, "linear_grads");
    assert_int_equal(g.node[0].nin, 3);
    assert_int_equal(g.node[0].in[1], b);
    assert_int_equal(g.node[0].in[2], u);
    assert_int_equal(g.node[0].out[0], dx);
    assert_int_equal(g.node[0].out[1], dw);
}

/* The first is read before the other can be computed. */
static void test_pair_not_across_a_reader(void **state)
{
    hone_id dy, b, dx;
    hone_err err;

    (void)state;
    begin();
    dy = tensor("dy", HONE_T_INPUT, T, WIDE);
    b = tensor("b", HONE_T_PARAM, WIDE, NARROW);
    dx = op("linear_dx", dy, b);
    op("linear_dw", dy, op("add", dx, dx));
    assert_int_equal(hone_pass_group(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 3);
}

/* Gradients of a norm share two inputs, and stand in either order; where eps
 * is another one, or x is, they stay apart. */
static void test_pair_of_norms(void **state)
{
    const hone_attr eps[2] = { { "eps", 1e-3, NULL }, { "eps", 1e-4, NULL } };
    hone_err err;

    (void)state;
    for (int n = 0; n < 4; n++) {
        const int dw_first = n & 1, apart = n & 2;
        hone_id in[3], other[2], dx = HONE_NONE, dw = HONE_NONE;
        hone_attr attrs[2] = { eps[0], { "d", WIDE, NULL } };

        begin();
        in[0] = other[0] = tensor("dy", HONE_T_INPUT, T, WIDE);
        in[1] = other[1] = tensor("x", HONE_T_INPUT, T, WIDE);
        in[2] = tensor("w", HONE_T_PARAM, WIDE, 1);
        g.tensor[in[2]].type.rank = 1;
        if (apart && dw_first)
            other[1] = tensor("z", HONE_T_INPUT, T, WIDE);
        else if (apart)
            attrs[0] = eps[1];
        for (int k = 0; k < 2; k++)
            assert_int_equal(
                k == dw_first
                    ? hone_graph_op(&g, "rmsnorm_dx", "n", eps, 1, in, 3, &dx,
                                    1, &err)
                    : hone_graph_op(&g, "rmsnorm_dw", "n", attrs, 2, other, 2,
                                    &dw, 1, &err), HONE_OK);
        assert_int_equal(hone_pass_group(&g, packs, &err), HONE_OK);
        assert_int_equal(g.nodes, apart ? 2 : 1);
        if (apart)
            continue;
        assert_string_equal(g.node[0].component->name, "rmsnorm_grads");
        assert_int_equal(g.node[0].nin, 3);
        assert_memory_equal(g.node[0].in, in, sizeof in);
        assert_int_equal(g.node[0].out[0], dx);
        assert_int_equal(g.node[0].out[1], dw);
    }
}

/* ------------------------------------------------------------------- again */

static void test_made_again(void **state)
{
    hone_id x, gate, up, act, y, seed;
    hone_err err;
    int both;

    (void)state;
    begin();
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    gate = op("linear", x, tensor("wg", HONE_T_PARAM, WIDE, WIDE));
    up = op("linear", x, tensor("wu", HONE_T_PARAM, WIDE, WIDE));
    act = op("swiglu", gate, up);
    y = op("linear", act, tensor("wd", HONE_T_PARAM, WIDE, WIDE));
    seed = tensor("seed", HONE_T_INPUT, T, WIDE);
    assert_int_equal(hone_pass_autodiff(&g, y, seed, &err), HONE_OK);
    assert_int_equal(hone_pass_again(&g, none, &err), HONE_OK);
    assert_int_equal(find("swiglu_regrad", 0), -1);
    assert_int_equal(hone_pass_again(&g, packs, &err), HONE_OK);
    both = find("swiglu_regrad", 0);
    assert_true(both > 0);
    assert_int_equal(find("swiglu_grad", 0), -1);
    for (int n = 0; n < g.nodes; n++) {
        if (g.node[n].phase == HONE_BACKWARD)
            assert_false(reads(&g.node[n], act));
        if (reads(&g.node[n], g.node[both].out[2]))
            assert_true(n > both); /* the gradient of wd waits for it */
    }
}

/* --------------------------------------------------- swiglu between factors */

/* W x + B A x, as the adapters pass leaves it. */
static hone_id adapted(hone_id x, const char *name, hone_storage storage)
{
    char a[16], b[16], w[16];
    hone_id y, v;

    snprintf(w, sizeof w, "w%s", name);
    snprintf(a, sizeof a, "a%s", name);
    snprintf(b, sizeof b, "b%s", name);
    y = op("linear", x, tensor(w, HONE_T_PARAM, WIDE, WIDE));
    g.tensor[g.node[g.nodes - 1].in[1]].type.storage = storage;
    v = op("linear", x, tensor(a, HONE_T_PARAM, NARROW, WIDE));
    v = scaled("linear", v, tensor(b, HONE_T_PARAM, WIDE, NARROW), 2);
    return op("add", y, v);
}

static hone_id adapted_mlp(hone_storage down)
{
    hone_id x, gate, up;

    begin();
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    gate = adapted(x, "g", HONE_F32);
    up = adapted(x, "u", HONE_F32);
    return adapted(op("swiglu", gate, up), "d", down);
}

/* The fused op stands before the large product that reads its result, with
 * the products as they were before the sums, and its gradient is one call. */
static void test_factors_around_swiglu(void **state)
{
    hone_id y, seed;
    hone_err err;
    int n;

    (void)state;
    y = adapted_mlp(HONE_F32);
    assert_int_equal(hone_pass_fuse(&g, none, &err), HONE_OK);
    assert_int_equal(find("swiglu_factors", 0), -1);
    assert_int_equal(hone_pass_fuse(&g, packs, &err), HONE_OK);
    n = find("swiglu_factors", 0);
    assert_int_equal(n, 4);
    assert_int_equal(find("swiglu", 0), -1);
    assert_int_equal(g.nodes, 8); /* two products before, and theirs; B's; + */
    assert_true(reads(&g.node[n + 1], g.node[n].out[0]));
    assert_int_equal(g.tensor[g.node[n].in[0]].type.dim[1], WIDE);
    assert_string_equal(g.tensor[g.node[n].in[3]].name, "bg");
    assert_string_equal(g.tensor[g.node[n].in[6]].name, "ad");
    assert_int_equal(hone_graph_producer(&g, g.node[n].in[0]), 0);
    seed = tensor("seed", HONE_T_INPUT, T, WIDE);
    assert_int_equal(hone_pass_autodiff(&g, y, seed, &err), HONE_OK);
    n = find("swiglu_factors_grad", 0);
    assert_true(n > 0);
    assert_int_equal(find("swiglu_factors_grad", n + 1), -1);
}

/* Who wants y as codes gets it from swiglu, which can write both. */
static void test_factors_not_where_codes_are_wanted(void **state)
{
    hone_err err;

    (void)state;
    (void)adapted_mlp(HONE_FP8);
    assert_int_equal(hone_pass_fuse(&g, packs, &err), HONE_OK);
    assert_int_equal(find("swiglu_factors", 0), -1);
    assert_true(find("swiglu", 0) > 0);
}

/* -------------------------------------------------------------------- sums */

/* y = W x + B A x: the small one first, the large one adds to it. */
static void test_larger_adds(void **state)
{
    hone_id x, wx, u, v, y;
    int last;

    (void)state;
    begin();
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    wx = op("linear", x, tensor("w", HONE_T_PARAM, WIDE, WIDE));
    u = op("linear", x, tensor("a", HONE_T_PARAM, NARROW, WIDE));
    v = op("linear", u, tensor("b", HONE_T_PARAM, WIDE, NARROW));
    y = op("add", wx, v);
    hone_pass_accumulate(&g);
    last = g.nodes - 1;
    assert_int_equal(g.nodes, 3);
    assert_int_equal(g.node[last].out[0], y);
    assert_int_equal(g.node[last].acc[0], v);
    assert_int_equal(g.tensor[g.node[last].in[1]].type.dim[0], WIDE);
}

/* r + W x + B A x: no sum is left. */
static void test_residual_goes_along(void **state)
{
    hone_id r, x, wx, u, v, y;

    (void)state;
    begin();
    r = tensor("r", HONE_T_INPUT, T, WIDE);
    x = tensor("x", HONE_T_INPUT, T, WIDE);
    wx = op("linear", x, tensor("w", HONE_T_PARAM, WIDE, WIDE));
    u = op("linear", x, tensor("a", HONE_T_PARAM, NARROW, WIDE));
    v = op("linear", u, tensor("b", HONE_T_PARAM, WIDE, NARROW));
    y = op("add", r, op("add", wx, v));
    hone_pass_accumulate(&g);
    assert_int_equal(g.nodes, 3);
    assert_int_equal(find("add", 0), -1);
    assert_int_equal(g.node[1].acc[0], r);
    assert_int_equal(g.node[2].acc[0], v);
    assert_int_equal(g.node[2].out[0], y);
}

/* Gradients of x by way of three factors and three wide weights: the small
 * ones are one summand, the wide ones still add to each other. */
static void test_small_summands_together(void **state)
{
    hone_id du[3], a[3], dy[3], w[3], last = HONE_NONE;
    hone_err err;
    char name[8];
    int sum;

    (void)state;
    begin();
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "u%d", i);
        du[i] = tensor(name, HONE_T_INPUT, T, NARROW);
        snprintf(name, sizeof name, "a%d", i);
        a[i] = tensor(name, HONE_T_PARAM, NARROW, WIDE);
        snprintf(name, sizeof name, "y%d", i);
        dy[i] = tensor(name, HONE_T_INPUT, T, WIDE);
        snprintf(name, sizeof name, "w%d", i);
        w[i] = tensor(name, HONE_T_PARAM, WIDE, WIDE);
    }
    for (int i = 0; i < 6; i++) {
        hone_id more = i % 2 ? op("linear_dx", dy[i / 2], w[i / 2])
                             : op("linear_dx", du[i / 2], a[i / 2]);
        g.node[i].acc[0] = last;
        last = more;
    }
    assert_int_equal(hone_pass_sums(&g, none, &err), HONE_OK);
    assert_int_equal(g.nodes, 6);
    assert_int_equal(hone_pass_sums(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 4);
    sum = find("linear_dx_sum", 0);
    assert_int_equal(sum, 2); /* where the last of them stood */
    assert_int_equal(g.node[sum].nin, 6);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(g.node[sum].in[2 * i], du[2 - i]);
        assert_int_equal(g.node[sum].in[2 * i + 1], a[2 - i]);
    }
    assert_int_equal(g.node[0].acc[0], HONE_NONE);
    for (int n = 1; n < 4; n++)
        assert_int_equal(g.node[n].acc[0], g.node[n - 1].out[0]);
    assert_int_equal(g.node[3].out[0], last);
}

/* A sum on the way that is read by others as well ends the search. */
static void test_no_summand_that_is_read(void **state)
{
    hone_id u = HONE_NONE, a, first, second;
    hone_err err;

    (void)state;
    begin();
    u = tensor("u", HONE_T_INPUT, T, NARROW);
    a = tensor("a", HONE_T_PARAM, NARROW, WIDE);
    first = op("linear_dx", u, a);
    second = op("linear_dx", u, a);
    g.node[1].acc[0] = first;
    op("add", first, second);
    assert_int_equal(hone_pass_sums(&g, packs, &err), HONE_OK);
    assert_int_equal(g.nodes, 3);
}

/* ------------------------------------------------------------------ chunks */

/* A head as wide as what it reads: only the logits are cut, not the gradient of
 * what goes in, which has their size. */
static void test_chunks_of_a_square_head(void **state)
{
    hone_id seed, x, big;
    hone_err err;
    int count = 0;

    (void)state;
    begin();
    seed = tensor("seed", HONE_T_INPUT, T, T);
    x = op("linear", tensor("x", HONE_T_INPUT, T, T),
           tensor("w", HONE_T_PARAM, T, T));
    x = op("silu", x, HONE_NONE);
    big = op("linear", x, tensor("head", HONE_T_PARAM, T, T));
    assert_int_equal(hone_pass_autodiff(&g, op("silu", big, HONE_NONE), seed,
                                        &err), HONE_OK);
    assert_int_equal(hone_pass_chunk(&g, big, T / 2, &err), HONE_OK);
    for (int n = 0; n < g.nodes; n++)
        count += !strcmp(g.node[n].component->name, "linear_dw");
    assert_int_equal(count, 1 + 2); /* of w, of the head */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_of_a_square_head),
        cmocka_unit_test(test_group_what_is_covered),
        cmocka_unit_test(test_group_as_it_will_be),
        cmocka_unit_test(test_group_only_alike),
        cmocka_unit_test(test_group_later),
        cmocka_unit_test(test_group_not_across_a_reader),
        cmocka_unit_test(test_pair_from_one_reading),
        cmocka_unit_test(test_pair_not_across_a_reader),
        cmocka_unit_test(test_pair_of_norms),
        cmocka_unit_test(test_made_again),
        cmocka_unit_test(test_factors_around_swiglu),
        cmocka_unit_test(test_factors_not_where_codes_are_wanted),
        cmocka_unit_test(test_larger_adds),
        cmocka_unit_test(test_residual_goes_along),
        cmocka_unit_test(test_small_summands_together),
        cmocka_unit_test(test_no_summand_that_is_read),
    };
    hone_err err;
    int failed;

    if (hone_registry_open(NULL, &err) != HONE_OK ||
        hone_machine_open(&machine, "cpu", NULL, &forever, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    hone_machine_close(&machine);
    hone_arena_free(&arena);
    hone_arena_free(&forever);
    return failed;
}
