/* SPDX-License-Identifier: MIT
 *
 * test_passes.c -- small graphs through single passes. What a graph means is
 * said by `eager` below: every tensor by itself, out = acc + op(in), with the
 * reference code. Placed programs must give the same, and gradients those of
 * central differences.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"
#include "machine.h"
#include "passes.h"
#include "program.h"
#include "registry.h"

enum { N = 8 }; /* rows and columns of every matrix */

static hone_machine machine;
static hone_arena forever;

typedef struct {
    hone_program p;
    hone_arena arena;
    float *value[256]; /* [tensors] of the eager run */
} fixture;

static hone_graph *begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->p.name = "test";
    hone_graph_init(&f->p.graph, &f->arena, &f->arena, HONE_F32);
    return &f->p.graph;
}

static hone_id sized(fixture *f, const char *name, hone_tensor_kind kind,
                     int rows, int cols)
{
    hone_id id = hone_graph_tensor(&f->p.graph, name,
                                   hone_type_of(HONE_F32, 2, rows, cols), kind);

    f->p.graph.tensor[id].trainable = kind == HONE_T_PARAM;
    return id;
}

static hone_id matrix(fixture *f, const char *name, hone_tensor_kind kind)
{
    return sized(f, name, kind, N, N);
}

/* y = op(a, b); into TO if that is given. */
static hone_id op(fixture *f, const char *name, hone_id a, hone_id b,
                  hone_id to)
{
    hone_id in[2] = { a, b };
    hone_err err;

    if (hone_graph_op(&f->p.graph, name, NULL, NULL, 0, in,
                      b == HONE_NONE ? 1 : 2, &to, 1, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    return to;
}

static void ok(hone_status status, const hone_err *err)
{
    if (status != HONE_OK)
        fail_msg("%s", err ? err->msg : "refused");
}

/* ------------------------------------------------------- two ways to run it */

static size_t bytes_of(const hone_graph *g, hone_id id)
{
    return (size_t)hone_count(&g->tensor[id].type) * sizeof(float);
}

/* First values of what is not made by the graph, from the names. */
static void first_values(const hone_graph *g, hone_id id, float *to)
{
    const char *name = g->tensor[id].name;
    unsigned seed = 1;

    if (g->tensor[id].kind != HONE_T_INPUT && g->tensor[id].kind !=
        HONE_T_PARAM)
        return;
    for (; *name; name++)
        seed = seed * 31 + (unsigned char)*name;
    for (size_t i = 0; i < bytes_of(g, id) / sizeof *to; i++) {
        seed = seed * 1664525 + 1013904223;
        to[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
    }
}

static void eager(fixture *f)
{
    hone_graph *g = &f->p.graph;

    for (hone_id i = 0; i < g->tensors; i++)
        if (!f->value[i]) {
            f->value[i] = hone_alloc(&f->arena, bytes_of(g, i));
            first_values(g, i, f->value[i]);
        } else if (g->tensor[i].kind == HONE_T_GRAD) {
            memset(f->value[i], 0, bytes_of(g, i));
        }
    for (int n = 0; n < g->nodes; n++) {
        const hone_node *node = &g->node[n];
        hone_call call = hone_node_call(g, node);
        hone_ptr ptr[16] = { 0 };

        for (uint32_t i = 0; i < node->nin + node->nout; i++) {
            hone_id id = i < node->nin ? node->in[i] : node->out[i - node->nin];
            if (id != HONE_NONE)
                ptr[i].part[0] = f->value[id];
        }
        for (uint32_t i = 0; i < node->nout; i++)
            if (node->acc[i] != HONE_NONE && node->acc[i] != node->out[i])
                memcpy(f->value[node->out[i]], f->value[node->acc[i]],
                       bytes_of(g, node->out[i]));
        node->op->ref_f32(&call, ptr);
    }
}

/* Assigned, placed and run by the CPU pack; then every GRAD and STATE must
 * hold what the eager run of graph AS gave it. */
static void check_placed(fixture *f, const fixture *as)
{
    hone_store store;
    hone_regions regions = { 0 };
    hone_program *p = &f->p;
    hone_err err;
    char *memory, *calls;

    ok(hone_pass_assign(&p->graph, machine.packs, &machine.info, 0, &err), &err);
    ok(hone_pass_place(&p->graph, &p->place, &err), &err);
    hone_store_init(&store, &f->arena);
    hone_store_take(&store, &p->graph);
    memory = hone_alloc(&f->arena, (size_t)store.bytes + 256);
    store.base = memory + (256 - (uintptr_t)memory % 256) % 256;
    for (int i = 1; i <= 2; i++) {
        char *at = hone_alloc(&f->arena, (size_t)p->place.bytes[i] + 256);
        memset(at, 0x7f, (size_t)p->place.bytes[i] + 256);
        at += (256 - (uintptr_t)at % 256) % 256;
        *(i == HONE_DEVICE_SPACE ? &regions.temps : &regions.pinned) = at;
        regions.workspace[i - 1] =
            hone_alloc(&f->arena, (size_t)p->place.workspace_bytes[i - 1]);
    }
    calls = hone_alloc(&f->arena, (size_t)hone_program_bytes(p));
    ok(hone_program_bind(p, &store, &regions, &machine, calls, &err), &err);
    for (hone_id i = 0; i < p->graph.tensors; i++)
        if (p->graph.tensor[i].base == HONE_NONE &&
            (p->graph.tensor[i].kind == HONE_T_INPUT ||
             p->graph.tensor[i].kind == HONE_T_PARAM))
            first_values(&p->graph, i, hone_store_address(&store,
                hone_store_find(&store, p->graph.tensor[i].name)));
    hone_program_run(p, &machine, N);
    for (hone_id i = 0; i < as->p.graph.tensors; i++) {
        const hone_tensor *t = &as->p.graph.tensor[i];
        const float *got;

        if (t->kind != HONE_T_GRAD && t->kind != HONE_T_STATE)
            continue;
        got = hone_store_address(&store, hone_store_find(&store, t->name));
        for (int k = 0; k < hone_count(&t->type); k++)
            if (!(fabsf(got[k] - as->value[i][k]) <
                  1e-3f * (1 + fabsf(as->value[i][k]))))
                fail_msg("%s[%d] is %g, not %g", t->name, k, (double)got[k],
                         (double)as->value[i][k]);
    }
    hone_program_close(p, &machine);
}

static void end(fixture *f)
{
    hone_arena_free(&f->arena);
}

/* ---------------------------------------------------------------- autodiff */

static double dot(fixture *f, hone_id a, hone_id b)
{
    double sum = 0;

    eager(f);
    for (int i = 0; i < N * N; i++)
        sum += (double)f->value[a][i] * (double)f->value[b][i];
    return sum;
}

/* d(seed . y) of every parameter against central differences: exact for what
 * is at most quadratic. */
static void check_gradients(fixture *f, hone_id y)
{
    hone_graph *g = &f->p.graph;
    hone_id seed = matrix(f, "seed", HONE_T_INPUT);
    hone_err err;

    ok(hone_pass_autodiff(g, y, seed, &err), &err);
    eager(f);
    for (hone_id p = 0; p < g->tensors; p++) {
        char name[64];
        hone_id grad;

        if (g->tensor[p].kind != HONE_T_PARAM)
            continue;
        snprintf(name, sizeof name, "grad:%s", g->tensor[p].name);
        grad = hone_graph_find(g, name);
        assert_int_not_equal(grad, HONE_NONE);
        for (int i = 0; i < N * N; i += 5) {
            float old = f->value[p][i];
            double up, down, want;

            f->value[p][i] = old + 0.25f;
            up = dot(f, y, seed);
            f->value[p][i] = old - 0.25f;
            down = dot(f, y, seed);
            f->value[p][i] = old;
            want = (up - down) / 0.5;
            dot(f, y, seed);
            if (fabs((double)f->value[grad][i] - want) > 1e-3 * (1 + fabs(want)))
                fail_msg("%s[%d] is %g, not %g", name, i,
                         (double)f->value[grad][i], want);
        }
    }
}

/* s = a + b hands one gradient to both; b has another reader behind it, whose
 * gradient must not get into that of a. */
static void test_handed_on(void **state)
{
    fixture f;
    hone_id x, a, b, s, u, v;

    (void)state;
    begin(&f);
    x = matrix(&f, "x", HONE_T_INPUT);
    a = op(&f, "linear", x, matrix(&f, "wa", HONE_T_PARAM), HONE_NONE);
    b = op(&f, "linear", x, matrix(&f, "wb", HONE_T_PARAM), HONE_NONE);
    s = op(&f, "add", a, b, HONE_NONE);
    u = op(&f, "linear", s, matrix(&f, "w1", HONE_T_PARAM), HONE_NONE);
    v = op(&f, "linear", b, matrix(&f, "w2", HONE_T_PARAM), HONE_NONE);
    check_gradients(&f, op(&f, "add", u, v, HONE_NONE));
    end(&f);
}

static void test_twice_in_one_op(void **state)
{
    static const char *const twice[] = { "add", "mul" };

    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture f;
        hone_id x, a, s;

        begin(&f);
        x = matrix(&f, "x", HONE_T_INPUT);
        a = op(&f, "linear", x, matrix(&f, "wa", HONE_T_PARAM), HONE_NONE);
        s = op(&f, twice[i], a, a, HONE_NONE);
        check_gradients(&f, op(&f, "linear", s,
                               matrix(&f, "w1", HONE_T_PARAM), HONE_NONE));
        end(&f);
    }
}

static void test_parameter_twice(void **state)
{
    fixture f;
    hone_id x, w, a;

    (void)state;
    begin(&f);
    x = matrix(&f, "x", HONE_T_INPUT);
    w = matrix(&f, "w", HONE_T_PARAM);
    a = op(&f, "linear", x, w, HONE_NONE);
    check_gradients(&f, op(&f, "linear", a, w, HONE_NONE));
    end(&f);
}

/* ------------------------------------------------------------------- place */

/* x + W x, x needed no more: the sum may not take the bytes of x while the
 * product still reads them. */
static void test_adds_to_its_own_input(void **state)
{
    fixture f;
    hone_id x, y;

    (void)state;
    begin(&f);
    x = op(&f, "silu", matrix(&f, "x", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    y = op(&f, "linear", x, matrix(&f, "w", HONE_T_PARAM), HONE_NONE);
    y = op(&f, "add", x, y, HONE_NONE);
    op(&f, "silu", y, HONE_NONE, matrix(&f, "out", HONE_T_STATE));
    hone_pass_accumulate(&f.p.graph);
    assert_int_equal(f.p.graph.nodes, 3);
    eager(&f);
    check_placed(&f, &f);
    assert_int_equal(f.p.graph.nodes, 4); /* a copy of x */
    end(&f);
}

static void test_added_to_and_read_later(void **state)
{
    fixture f;
    hone_id x, u, y;

    (void)state;
    begin(&f);
    u = op(&f, "silu", matrix(&f, "u", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    x = op(&f, "silu", matrix(&f, "x", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    y = op(&f, "linear", u, matrix(&f, "w", HONE_T_PARAM), HONE_NONE);
    y = op(&f, "add", x, y, HONE_NONE);
    op(&f, "mul", x, y, matrix(&f, "out", HONE_T_STATE));
    hone_pass_accumulate(&f.p.graph);
    eager(&f);
    check_placed(&f, &f);
    assert_int_equal(f.p.graph.nodes, 5);
    end(&f);
}

static void test_in_place_shares(void **state)
{
    fixture f;
    hone_id x;

    (void)state;
    begin(&f);
    x = op(&f, "silu", matrix(&f, "x", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    x = op(&f, "mul", x, x, HONE_NONE); /* both operands: not in place */
    x = op(&f, "silu", x, HONE_NONE, HONE_NONE);
    op(&f, "silu", x, HONE_NONE, matrix(&f, "out", HONE_T_STATE));
    eager(&f);
    check_placed(&f, &f);
    assert_int_equal(f.p.place.bytes[HONE_DEVICE_SPACE],
                     2 * hone_tensor_bytes(&f.p.graph.tensor[x].type));
    end(&f);
}

/* --------------------------------------------------------- chunk, schedule */

static int has(const fixture *f, const char *name)
{
    int count = 0;

    for (int n = 0; n < f->p.graph.nodes; n++)
        count += !strcmp(f->p.graph.node[n].component->name, name);
    return count;
}

/* Three layers y = x + V silu(W x), and the gradients. */
static void layers(fixture *f)
{
    hone_graph *g = begin(f);
    hone_id x, seed = matrix(f, "seed", HONE_T_INPUT);
    hone_err err;

    x = op(f, "silu", matrix(f, "x", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    for (g->layer = 0; g->layer < 3; g->layer++) {
        char w[2] = { (char)('a' + g->layer), 0 };
        char v[2] = { (char)('u' + g->layer), 0 };
        hone_id y = op(f, "linear", x, matrix(f, w, HONE_T_PARAM), HONE_NONE);

        y = op(f, "silu", y, HONE_NONE, HONE_NONE);
        y = op(f, "linear", y, matrix(f, v, HONE_T_PARAM), HONE_NONE);
        x = op(f, "add", x, y, HONE_NONE);
    }
    g->layer = -1;
    ok(hone_pass_autodiff(g, x, seed, &err), &err);
}

static void test_schedules_give_the_same(void **state)
{
    static const uint8_t keep[][3] = {
        { HONE_KEEP_ALL, HONE_KEEP_ALL, HONE_KEEP_ALL },
        { HONE_KEEP_NONE, HONE_KEEP_NONE, HONE_KEEP_NONE },
        { HONE_KEEP_OFFLOAD, HONE_KEEP_OFFLOAD, HONE_KEEP_OFFLOAD },
        { HONE_KEEP_OFFLOAD, HONE_KEEP_NONE, HONE_KEEP_ALL },
        { HONE_KEEP_LIGHT, HONE_KEEP_LIGHT, HONE_KEEP_LIGHT },
        { HONE_KEEP_NONE, HONE_KEEP_LIGHT, HONE_KEEP_ALL },
        { HONE_KEEP_AWAY, HONE_KEEP_AWAY, HONE_KEEP_AWAY } };
    int64_t bytes[7];
    int products[7];
    fixture as, f;

    (void)state;
    layers(&as);
    eager(&as);
    for (int i = 0; i < 7; i++) {
        layers(&f);
        hone_pass_accumulate(&f.p.graph);
        ok(hone_pass_recompute(&f.p.graph, keep[i], 3, NULL), NULL);
        check_placed(&f, &as);
        bytes[i] = f.p.place.bytes[HONE_DEVICE_SPACE];
        products[i] = has(&f, "linear");
        assert_int_equal(f.p.place.bytes[HONE_PINNED_SPACE] > 0,
                         i == 2 || i == 3 || i == 6);
        for (int n = 0; n < f.p.graph.nodes; n++) /* joins lie ahead */
            if (f.p.graph.node[n].stream)
                assert_true(f.p.graph.node[n].join > n);
        end(&f);
    }
    end(&as);
    /* What is computed again is not kept, and light makes no product. */
    assert_true(bytes[1] < bytes[4] && bytes[4] < bytes[0]);
    assert_true(bytes[2] <= bytes[1] && bytes[5] < bytes[0]);
    assert_int_equal(products[0], 6);
    assert_int_equal(products[4], 6);
    assert_int_equal(products[6], 6); /* nor away, where nothing is wide */
    assert_true(bytes[6] < bytes[0]);
    assert_int_equal(products[1], 9);
}

static void test_chunks_give_the_same(void **state)
{
    static const int rows[] = { N, 4, 3, 1 };
    fixture as, f;

    (void)state;
    for (int i = -1; i < 4; i++) {
        fixture *to = i < 0 ? &as : &f;
        hone_graph *g = begin(to);
        hone_id x = matrix(to, "x", HONE_T_INPUT), big;
        hone_id seed = matrix(to, "seed", HONE_T_INPUT);
        hone_err err;

        x = op(to, "linear", x, matrix(to, "w", HONE_T_PARAM), HONE_NONE);
        big = op(to, "silu", x, HONE_NONE, HONE_NONE);
        op(to, "sum_rows", big, HONE_NONE, hone_graph_tensor(g, "sum",
           hone_type_of(HONE_F32, 1, N, 1), HONE_T_STATE));
        ok(hone_pass_autodiff(g, big, seed, &err), &err);
        if (i < 0)
            eager(to);
        else
            ok(hone_pass_chunk(g, big, rows[i], &err), &err);
        if (i >= 0) {
            check_placed(to, &as);
            end(to);
        }
    }
    end(&as);
}

/* Layers y = x + V silu(silu(W x)), W four times as wide, and the gradients. */
static void wide_layers(fixture *f, int count)
{
    hone_graph *g = begin(f);
    hone_id x, seed = matrix(f, "seed", HONE_T_INPUT);

    x = op(f, "silu", matrix(f, "x", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    for (g->layer = 0; g->layer < count; g->layer++) {
        char name[2][2] = { { (char)('a' + g->layer) },
                            { (char)('m' + g->layer) } };
        hone_id w = sized(f, name[0], HONE_T_PARAM, 4 * N, N);
        hone_id v = sized(f, name[1], HONE_T_PARAM, N, 4 * N);
        hone_id y = op(f, "linear", x, w, HONE_NONE);

        y = op(f, "silu", y, HONE_NONE, HONE_NONE);
        y = op(f, "silu", y, HONE_NONE, HONE_NONE);
        y = op(f, "linear", y, v, HONE_NONE);
        x = op(f, "add", x, y, HONE_NONE);
    }
    g->layer = -1;
    ok(hone_pass_autodiff(g, x, seed, NULL), NULL);
}

static void test_chunked_layers_give_the_same(void **state)
{
    static const uint8_t keep[][2] = { { HONE_KEEP_NONE, HONE_KEEP_NONE },
                                       { HONE_KEEP_AWAY, HONE_KEEP_AWAY },
                                       { HONE_KEEP_ALL, HONE_KEEP_ALL } };
    static const int rows[] = { N, 4, 3 };
    fixture as, f;

    (void)state;
    wide_layers(&as, 2);
    eager(&as);
    for (int k = 0; k < 3; k++) {
        int64_t bytes[3];

        for (int i = 0; i < 3; i++) {
            wide_layers(&f, 2);
            hone_pass_accumulate(&f.p.graph);
            ok(hone_pass_recompute(&f.p.graph, keep[k], 2, NULL), NULL);
            ok(hone_pass_chunk_layers(&f.p.graph, N, rows[i], NULL), NULL);
            check_placed(&f, &as);
            bytes[i] = f.p.place.bytes[HONE_DEVICE_SPACE];
            end(&f);
        }
        assert_true(bytes[2] <= bytes[1]); /* kept: there is nothing to gain */
        assert_int_equal(bytes[1] < bytes[0], k < 2);
    }
    end(&as);
}

/* What waits in pinned memory takes the device no more with more layers. */
static void test_sent_out_layers_take_no_more(void **state)
{
    (void)state;
    for (int level = HONE_KEEP_ALL; level <= HONE_KEEP_AWAY; level++) {
        int64_t bytes[2];
        uint8_t keep[8];

        memset(keep, level, sizeof keep);
        for (int i = 0; i < 2; i++) {
            fixture f;

            wide_layers(&f, 4 + 4 * i);
            ok(hone_pass_recompute(&f.p.graph, keep, 4 + 4 * i, NULL), NULL);
            ok(hone_pass_place(&f.p.graph, &f.p.place, NULL), NULL);
            bytes[i] = f.p.place.bytes[HONE_DEVICE_SPACE];
            end(&f);
        }
        assert_int_equal(bytes[1] == bytes[0], level == HONE_KEEP_OFFLOAD ||
                         level == HONE_KEEP_AWAY);
    }
}

/* W is made in chunks and needed whole by a product within them. */
static void test_chunk_needed_whole(void **state)
{
    fixture f;
    hone_id x, big;

    (void)state;
    begin(&f);
    x = matrix(&f, "x", HONE_T_INPUT);
    big = op(&f, "silu", x, HONE_NONE, HONE_NONE);
    op(&f, "linear", x, big, matrix(&f, "out", HONE_T_STATE));
    assert_int_equal(hone_pass_chunk(&f.p.graph, big, 4, NULL), HONE_ENOSUP);
    end(&f);
}

/* -------------------------------------------------------------------- fuse */

static void swiglu_by_hand(fixture *f)
{
    hone_id gate, up;

    begin(f);
    gate = op(f, "silu", matrix(f, "gate", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    up = op(f, "silu", matrix(f, "up", HONE_T_INPUT), HONE_NONE, HONE_NONE);
    op(f, "mul", gate, up, matrix(f, "out", HONE_T_STATE));
}

static void test_fuse_where_covered(void **state)
{
    const hone_component *none[] = { NULL };
    fixture f;
    hone_err err;

    (void)state;
    swiglu_by_hand(&f);
    eager(&f);
    ok(hone_pass_fuse(&f.p.graph, none, &err), &err);
    assert_int_equal(has(&f, "swiglu"), 0);
    ok(hone_pass_fuse(&f.p.graph, machine.packs, &err), &err);
    assert_int_equal(has(&f, "swiglu"), 1);
    assert_int_equal(has(&f, "silu"), 1); /* that of up */
    check_placed(&f, &f);
    end(&f);
}

/* The product of the gate is read elsewhere too: nothing to fuse. */
static void test_fuse_not_what_is_read_outside(void **state)
{
    fixture f;
    hone_err err;

    (void)state;
    swiglu_by_hand(&f);
    op(&f, "silu", f.p.graph.node[0].out[0], HONE_NONE,
       matrix(&f, "also", HONE_T_STATE));
    eager(&f);
    ok(hone_pass_fuse(&f.p.graph, machine.packs, &err), &err);
    assert_int_equal(has(&f, "swiglu"), 0);
    end(&f);
}

/* What a fused op wrote is written by its decomposition, whoever knows it. */
static void test_lowering_keeps_the_outputs(void **state)
{
    const hone_component *none[] = { NULL };
    fixture f;
    hone_id y;
    hone_err err;

    (void)state;
    begin(&f);
    y = op(&f, "swiglu", matrix(&f, "gate", HONE_T_INPUT),
           matrix(&f, "up", HONE_T_INPUT), HONE_NONE);
    ok(hone_pass_fuse(&f.p.graph, none, &err), &err);
    assert_int_equal(has(&f, "swiglu"), 0);
    assert_int_equal(hone_graph_producer(&f.p.graph, y), 1);
    end(&f);
}

/* y = w2 swiglu(w0 x, w1 x) and its gradients; RULE 0: swiglu has none. */
static void swiglu_of_linears(fixture *f, int rule)
{
    static hone_op without;
    hone_id x, up, y;
    hone_err err;

    begin(f);
    x = matrix(f, "x", HONE_T_INPUT);
    y = op(f, "linear", x, matrix(f, "w0", HONE_T_PARAM), HONE_NONE);
    up = op(f, "linear", x, matrix(f, "w1", HONE_T_PARAM), HONE_NONE);
    y = op(f, "swiglu", y, up, HONE_NONE);
    without = *f->p.graph.node[f->p.graph.nodes - 1].op;
    without.backward = NULL;
    if (!rule)
        f->p.graph.node[f->p.graph.nodes - 1].op = &without;
    y = op(f, "linear", y, matrix(f, "w2", HONE_T_PARAM), HONE_NONE);
    ok(hone_pass_autodiff(&f->p.graph, y, matrix(f, "seed", HONE_T_INPUT),
                          &err), &err);
    eager(f);
}

/* A fused op without a backward rule has that of its decomposition. */
static void test_gradient_through_decomposition(void **state)
{
    static const char *const grads[] = { "grad:w0", "grad:w1", "grad:w2" };
    fixture by_rule, by_parts;

    (void)state;
    swiglu_of_linears(&by_rule, 1);
    swiglu_of_linears(&by_parts, 0);
    assert_int_equal(has(&by_parts, "swiglu_grad"), 0);
    assert_int_equal(has(&by_parts, "silu"), 1);
    assert_int_equal(has(&by_parts, "mul"), 2); /* y again is not needed */
    for (int k = 0; k < 3; k++) {
        hone_id a = hone_graph_find(&by_rule.p.graph, grads[k]);
        hone_id b = hone_graph_find(&by_parts.p.graph, grads[k]);

        for (int i = 0; i < N * N; i++)
            assert_true(fabsf(by_rule.value[a][i] - by_parts.value[b][i]) <
                        1e-4f * (1 + fabsf(by_rule.value[a][i])));
    }
    end(&by_rule);
    end(&by_parts);
}

/* ---------------------------------------------------------------- adapters */

static void test_targets(void **state)
{
    hone_lora lora = { .r = 2, .alpha = 2, .targets = "q" };
    hone_id x, y, w;
    fixture f;
    hone_err err;

    (void)state;
    begin(&f);
    x = matrix(&f, "x", HONE_T_INPUT);
    w = matrix(&f, "layer.q.weight", HONE_T_PARAM);
    y = op(&f, "linear", x, w, HONE_NONE);
    ok(hone_pass_lora(&f.p.graph, &lora, &y, &err), &err);
    assert_int_equal(hone_graph_producer(&f.p.graph, y), f.p.graph.nodes - 1);
    lora.targets = "q,w";
    assert_int_equal(hone_pass_lora(&f.p.graph, &lora, &y, &err), HONE_EINVAL);
    assert_non_null(strstr(err.msg, "'w'"));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handed_on),
        cmocka_unit_test(test_twice_in_one_op),
        cmocka_unit_test(test_parameter_twice),
        cmocka_unit_test(test_adds_to_its_own_input),
        cmocka_unit_test(test_added_to_and_read_later),
        cmocka_unit_test(test_in_place_shares),
        cmocka_unit_test(test_schedules_give_the_same),
        cmocka_unit_test(test_chunks_give_the_same),
        cmocka_unit_test(test_chunked_layers_give_the_same),
        cmocka_unit_test(test_sent_out_layers_take_no_more),
        cmocka_unit_test(test_chunk_needed_whole),
        cmocka_unit_test(test_fuse_where_covered),
        cmocka_unit_test(test_fuse_not_what_is_read_outside),
        cmocka_unit_test(test_gradient_through_decomposition),
        cmocka_unit_test(test_lowering_keeps_the_outputs),
        cmocka_unit_test(test_targets),
    };
    hone_err err;
    int failed;

    if (hone_registry_open(NULL, &err) != HONE_OK ||
        hone_machine_open(&machine, "cpu", NULL, &forever, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    hone_machine_close(&machine);
    hone_arena_free(&forever);
    return failed;
}
