/* SPDX-License-Identifier: MIT
 *
 * test_cuda_covers.c -- which calls the kernels of pack cuda cover that stand
 * before those for nearly all, as their device-free half says: no driver is
 * needed. A call that the graph has and a drawn one has not, as that of a
 * linear whose bias is absent, would fall to the next kernel, and nobody would
 * see more than a slower step. And what a plan counts for them in a graph.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "attrs.h"
#include "plugins.h"

enum { T = 1024, F = 8192, H = 2048, R = 16, MOST = 32 };

static const hone_pack *pack;
static const hone_device *device;

typedef struct {
    hone_call call;
    hone_type type[MOST];
    uint8_t mode[MOST];
    hone_device_info info;
} drawn;

static void begin(drawn *d, const char *op, const void *attrs, int arch)
{
    memset(d, 0, sizeof *d);
    d->info.size = sizeof d->info;
    d->info.arch = arch;
    d->call = (hone_call){ .size = sizeof d->call, .op = op, .attrs = attrs,
                           .type = d->type, .mode = d->mode,
                           .compute = HONE_BF16, .device = &d->info };
}

static void operand(drawn *d, int output, hone_storage s, int64_t rows,
                    int64_t columns)
{
    hone_call *c = &d->call;
    uint32_t i = c->nin + c->nout;

    d->type[i] = hone_type_of(s, 2, rows, columns);
    d->mode[i] = output ? HONE_WRITE : HONE_READ;
    c->nin += !output;
    c->nout += (uint32_t)output;
}

/* Bytes of workspace of the first kernel that covers the call; -1: none. */
static int64_t workspace(const drawn *d)
{
    for (const hone_kernel *k = pack->kernels; k->op; k++) {
        hone_storage want[MOST];
        hone_need need = { .size = sizeof need, .want = want };

        for (int i = 0; i < MOST; i++)
            want[i] = d->type[i].storage;
        if (!strcmp(k->op, d->call.op) &&
            k->prepare(&d->call, 1, &need, NULL) == HONE_OK)
            return need.workspace_bytes;
    }
    return -1;
}

static const hone_linear_attrs one = { 1 };

/* y = x w^T, with a place for a bias: cuBLASLt has a workspace, ours not. */
static int64_t linear(int64_t in, int64_t out, hone_storage bias)
{
    drawn d;

    begin(&d, "linear", &one, 90);
    operand(&d, 0, HONE_BF16, T, in);
    operand(&d, 0, HONE_F32, out, in);
    operand(&d, 0, bias, bias ? out : 0, bias ? 1 : 0);
    operand(&d, 1, HONE_BF16, T, out);
    return workspace(&d);
}

static void narrow_linears_are_ours(void **unused)
{
    (void)unused;
    assert_true(linear(H, F, HONE_NOTHING) > 0);
    assert_int_equal(linear(R, F, HONE_NOTHING), 0);
    assert_int_equal(linear(H, R, HONE_NOTHING), 0);
    assert_true(linear(R, F, HONE_BF16) > 0);
}

static int64_t factors(int grad, int64_t r, int64_t columns, int arch)
{
    static const hone_swiglu_factors_attrs attrs = { 2, 2 };
    drawn d;

    begin(&d, grad ? "swiglu_factors_grad" : "swiglu_factors", &attrs, arch);
    for (int i = 0; i < 2 + grad; i++)
        operand(&d, 0, HONE_BF16, T, columns);
    for (int i = 0; i < 2; i++) {
        operand(&d, 0, HONE_BF16, T, r);
        operand(&d, 0, HONE_F32, columns, r);
    }
    operand(&d, 0, HONE_F32, r, columns);
    if (grad)
        operand(&d, 0, HONE_BF16, T, r);
    for (int i = 0; i < 1 + grad; i++)
        operand(&d, 1, HONE_BF16, T, columns);
    for (int i = 0; i < 1 + grad; i++) {
        operand(&d, 1, HONE_BF16, T, r);
        if (grad)
            operand(&d, 1, HONE_F32, columns, r);
    }
    if (grad)
        operand(&d, 1, HONE_F32, r, columns);
    return workspace(&d);
}

/* Whatever has swiglu_factors has its gradient: nothing stands for that. */
static void factors_and_their_gradient(void **unused)
{
    (void)unused;
    assert_true(factors(0, R, F, 90) > 0);
    for (int arch = 75; arch <= 120; arch++)
        for (int64_t r = 4; r <= 32; r += 4)
            for (int64_t columns = F - 4; columns <= F; columns += 4)
                assert_int_equal(factors(0, r, columns, arch) > 0,
                                 factors(1, r, columns, arch) > 0);
    assert_int_equal(factors(0, R, F, 89), -1); /* too little shared memory */
    assert_int_equal(factors(0, R, F, 120), -1);
    assert_int_equal(factors(0, 32, F, 90), -1);
}

static int64_t slopes(int64_t vocabulary, int arch)
{
    drawn d;

    begin(&d, "xent_slopes", NULL, arch);
    operand(&d, 0, HONE_BF16, T, vocabulary);
    operand(&d, 0, HONE_F32, 1, 1);
    operand(&d, 0, HONE_I32, T, 1);
    operand(&d, 1, HONE_F32, 1, 1);
    operand(&d, 1, HONE_BF16, T, vocabulary);
    return workspace(&d);
}

static void rows_that_a_cluster_holds(void **unused)
{
    (void)unused;
    assert_true(slopes(128256, 90) > 0);
    assert_true(slopes(262144, 120) > 0);
    assert_int_equal(slopes(262152, 90), -1);
    assert_int_equal(slopes(50257, 90), -1); /* no whole eights */
    assert_int_equal(slopes(128256, 89), -1);
}

/* Bytes of a graph of so many times the call. */
static int64_t in_a_graph(const hone_call *call, int times)
{
    int64_t use[HONE_GRAPH_USE] = { 0 }, bytes = 0;

    for (int i = 0; i < times; i++)
        bytes = device->graph_bytes(call, use);
    return bytes;
}

/* Of a fill of so many tensors: the table of them travels with the launch. */
static int64_t fill_in_a_graph(uint32_t tensors)
{
    static const hone_fill_attrs attrs = { 1 };
    const hone_call call = { .size = sizeof call, .op = "fill",
                             .attrs = &attrs, .nout = tensors };

    return in_a_graph(&call, 1);
}

enum { BLOCK = 2 << 20 }; /* of device memory */

static void graphs_are_planned(void **unused)
{
    drawn d;
    int64_t ours, theirs;

    (void)unused;
    assert_int_equal(fill_in_a_graph(1), 512 + 2048);
    assert_int_equal(fill_in_a_graph(8), fill_in_a_graph(1));
    assert_true(fill_in_a_graph(9) > 5 * fill_in_a_graph(8));
    assert_int_equal(fill_in_a_graph(1000), 2 * fill_in_a_graph(500));
    begin(&d, "linear", &one, 90);
    operand(&d, 0, HONE_BF16, T, H);
    operand(&d, 0, HONE_BF16, R, H);
    operand(&d, 1, HONE_BF16, T, R);
    ours = in_a_graph(&d.call, 1);
    assert_int_equal(ours, 512 + 2048);
    /* What fills more than a block of parameters has half of one besides. */
    assert_int_equal(in_a_graph(&d.call, 1024), 1024 * ours);
    assert_int_equal(in_a_graph(&d.call, 1025), 1025 * ours + BLOCK / 2);
    d.type[1].dim[0] = d.type[2].dim[1] = F;
    theirs = in_a_graph(&d.call, 1);
    assert_true(theirs > ours && theirs < 2 * ours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrow_linears_are_ours),
        cmocka_unit_test(factors_and_their_gradient),
        cmocka_unit_test(rows_that_a_cluster_holds),
        cmocka_unit_test(graphs_are_planned),
    };
    const hone_component *c, *d;

    if (access(HONE_BUILD "/lib/hone/plugins/cuda.so", F_OK)) {
        puts("skipped: pack cuda was not built (no CUDA Toolkit)");
        return 0;
    }
    c = test_component(HONE_KIND_PACK, "cuda");
    d = test_component(HONE_KIND_DEVICE, "cuda");
    if (!c || !d)
        return 1;
    pack = c->ops;
    device = d->ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
