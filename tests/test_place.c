/* SPDX-License-Identifier: MIT
 *
 * test_place.c -- where stream 0 waits for what a copy beside it brings: at
 * the first op that reads it, be it as an input, as what it adds to or as what
 * it updates. That the bytes are right is test_passes' business, and
 * test_fake_run's, where streams are late.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "passes.h"
#include "registry.h"

enum { N = 8 };

typedef struct {
    hone_graph g;
    hone_arena arena;
    hone_id kept, here; /* a state in pinned memory, and where it is brought */
} fixture;

static hone_id matrix(fixture *f, const char *name, hone_tensor_kind kind)
{
    return hone_graph_tensor(&f->g, name, hone_type_of(HONE_F32, 2, N, N),
                             kind);
}

static void begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    hone_graph_init(&f->g, &f->arena, &f->arena, HONE_F32);
    f->kept = matrix(f, "kept", HONE_T_STATE);
    f->g.tensor[f->kept].space = HONE_PINNED_SPACE;
    f->here = matrix(f, NULL, HONE_T_TEMP);
}

static hone_id silu(fixture *f, hone_id x, hone_id to)
{
    hone_err err;

    if (hone_graph_op(&f->g, "silu", NULL, NULL, 0, &x, 1, &to, 1, &err))
        fail_msg("%s", err.msg);
    return to;
}

/* The state is brought as early as can be: the node that waits for it. */
static int join_of(fixture *f)
{
    hone_placement place;
    hone_err err;
    int join;

    silu(f, f->here, matrix(f, "out", HONE_T_STATE));
    if (hone_graph_copy(&f->g, f->kept, f->here, 0, &err) ||
        hone_pass_place(&f->g, &place, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(f->g.node[0].stream, 1);
    join = f->g.node[0].join;
    hone_arena_free(&f->arena);
    return join;
}

static void test_read(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    silu(&f, matrix(&f, "x", HONE_T_INPUT), HONE_NONE);
    assert_int_equal(join_of(&f), 2);
}

/* As Adafactor's means: updated by one op and read by the next. */
static void test_updated_and_read(void **state)
{
    const hone_attr attrs[] = { { "program", 0, "y0 x0 + =y0" },
                                { "scalars", 0, NULL },
                                { "reads", 1, NULL },
                                { "writes", 1, NULL } };
    fixture f;
    hone_id x;
    hone_err err;

    (void)state;
    begin(&f);
    x = silu(&f, matrix(&f, "x", HONE_T_INPUT), HONE_NONE);
    if (hone_graph_op(&f.g, "map", NULL, attrs, 4, &x, 1, &f.here, 1, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(join_of(&f), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_updated_and_read),
    };
    hone_err err;

    if (hone_registry_open(NULL, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
