/* SPDX-License-Identifier: MIT
 *
 * test_map.c -- element-wise programs: every word, lists of tensors, the
 * guard, mixed storages, and the refusal of programs that make no sense.
 */
#include "eager.h"

/* Runs PROGRAM on one element; S, X: two values each; returns y0 from Y. */
static double run(hone_storage compute, const char *program, const double *s,
                  const double *x, double y)
{
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", 2, NULL },
                                { "reads", 2, NULL } };
    hone_id in[4], out;
    hone_err err = { HONE_OK, "" };
    double result;
    eager e;
    int i;

    eager_open(&e, compute);
    for (i = 0; i < 4; i++) {
        in[i] = eager_new(&e, hone_type_of(compute, 1, 1, 1));
        eager_set(&e, in[i], 0, i < 2 ? s[i] : x[i - 2]);
    }
    out = eager_new(&e, hone_type_of(compute, 1, 1, 1));
    eager_set(&e, out, 0, y);
    if (eager_emit(&e.builder, "map", NULL, attrs, 3, in, 4, &out, 1, &err))
        fail_msg("%s: %s", program, err.msg);
    result = eager_get(&e, out, 0);
    eager_close(&e);
    return result;
}

static void every_word_does_its_work(void **state)
{
    static const struct {
        const char *program;
        double y;
    } table[] = {
        { "x0 =y0", 3 },
        { "-1.5e1 =y0", -15 },
        { "x0 x1 + =y0", -1 },
        { "x0 x1 - =y0", 7 },
        { "x0 x1 * =y0", -12 },
        { "x0 x1 / =y0", -0.75 },
        { "x0 x1 min =y0", -4 },
        { "x0 x1 max =y0", 3 },
        { "x0 x1 < =y0", 0 },
        { "x0 x1 > =y0", 1 },
        { "x0 neg =y0", -3 },
        { "x1 abs =y0", 4 },
        { "x1 abs sqrt =y0", 2 },
        { "s0 exp =y0", 1.6487212707001281 },
        { "s0 expm1 =y0", 0.6487212707001281 },
        { "s0 log =y0", -0.6931471805599453 },
        { "x1 sign =y0", -1 },
        { "0 sign =y0", 0 },
        { "x0 finite =y0", 1 },
        { "x0 0 / finite =y0", 0 },
        { "0 0 / finite =y0", 0 },
        { "x0 x1 0.25 lerp =y0", 1.25 },
        { "1 x0 x1 select =y0", 3 },
        { "0 x0 x1 select =y0", -4 },
        { "x0 dup * =y0", 9 },
        { "x0 x1 swap - =y0", -7 },
        { "y0 2 * =y0", 20 },
        { "x0 =r7 x1 =r0 r7 r0 r0 * + =y0", 19 },
        { "x0 =y0 y0 1 + =y0", 4 },
        { "s0 s1\n*\t=y0", 4 },
    };
    const double s[] = { 0.5, 8 }, x[] = { 3, -4 };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        const char *program = table[i].program;
        double want = table[i].y;
        double wide = run(HONE_F64, program, s, x, 10);
        double narrow = run(HONE_F32, program, s, x, 10);
        if (fabs(wide - want) > 1e-15 * fabs(want) ||
            fabs(narrow - want) > 1e-6 * fabs(want))
            fail_msg("'%s' gives %g and %g, not %g", program, wide, narrow,
                     want);
    }
}

/* Two tensors of different sizes and storages, two outputs each. */
static void a_list_of_tensors_is_one_call(void **state)
{
    const char *program = "x0 s1 * =y0 y1 1 + =y1";
    const hone_attr attrs[] = { { "program", 0, program },
                                { "scalars", 2, NULL },
                                { "reads", 1, NULL },
                                { "writes", 2, NULL },
                                { "guard", 1, NULL } };
    const hone_type one = hone_type_of(HONE_F32, 1, 1, 1);
    const hone_type big = hone_type_of(HONE_F32, 2, 3, 2);
    const hone_type small = hone_type_of(HONE_F32, 1, 4, 1);
    hone_id in[4], out[4];
    hone_err err;
    eager e;
    int i;
    (void)state;
    eager_open(&e, HONE_F32);
    in[0] = eager_new(&e, one);
    in[1] = eager_new(&e, one);
    in[2] = eager_new(&e, big);
    in[3] = eager_new(&e, small);
    out[0] = eager_new(&e, big);
    out[1] = eager_new(&e, big);
    out[2] = eager_new(&e, hone_type_of(HONE_BF16, 1, 4, 1));
    out[3] = eager_new(&e, small);
    eager_set(&e, in[1], 0, 2);
    for (i = 0; i < 6; i++)
        eager_set(&e, in[2], i, i + 1);
    eager_set(&e, in[3], 3, 1.0 + 1.0 / 256);
    assert_int_equal(eager_emit(&e.builder, "map", NULL, attrs, 5, in, 4, out,
                                4, &err), 0);
    assert_true(eager_get(&e, out[0], 5) == 0); /* s0 is 0: nothing written */
    eager_set(&e, in[0], 0, 1);
    for (i = 0; i < 2; i++)
        assert_int_equal(eager_emit(&e.builder, "map", NULL, attrs, 5, in, 4,
                                    out, 4, &err), 0);
    assert_true(eager_get(&e, out[0], 5) == 12);
    assert_true(eager_get(&e, out[1], 5) == 2);
    assert_true(eager_get(&e, out[2], 3) == 2); /* rounded to bf16 */
    assert_true(eager_get(&e, out[3], 0) == 2);
    eager_close(&e);
}

/* Hash (FNV-1a) of the codes of 600 numbers of many sizes, MAGNITUDES or with
 * their signs. The goldens are those of bitsandbytes 0.50.2, backend
 * "default": quantize_blockwise(x, create_dynamic_map(signed), 256). Its one
 * for CPUs searches roughly: small numbers are a code or two off. */
static uint64_t hash_of_codes(hone_storage as, int magnitudes, eager *e,
                              hone_id *y)
{
    const hone_attr attrs[] = { { "program", 0, "x0 =y0" },
                                { "reads", 1, NULL } };
    hone_id x = eager_new(e, hone_type_of(HONE_F32, 1, 600, 1));
    uint64_t hash = 1469598103934665603u;
    hone_err err;
    int i;

    *y = eager_new(e, hone_type_of(as, 1, 600, 1));
    for (i = 0; i < 600; i++) {
        double v = ldexp((i * 7919 % 1009 - 504) / 512.0, -(i % 13));
        eager_set(e, x, i, magnitudes ? fabs(v) : v);
    }
    assert_int_equal(eager_emit(&e->builder, "map", NULL, attrs, 2, &x, 1, y, 1,
                                &err), 0);
    for (i = 0; i < 600; i++)
        hash = (hash ^ ((const uint8_t *)e->t[*y].ptr.part[0])[i]) *
               1099511628211u;
    return hash;
}

static void blocks_of_eight_bits_are_those_of_bitsandbytes(void **state)
{
    const float *absmax;
    hone_id y;
    eager e;
    (void)state;
    eager_open(&e, HONE_F32);
    assert_true(hash_of_codes(HONE_INT8, 0, &e, &y) == 0x809f3c3fbad22badu);
    absmax = e.t[y].ptr.part[1];
    assert_true(absmax[0] == 0.984375f && absmax[1] == 0.97265625f &&
                absmax[2] == 0.689453125f);
    assert_true(hash_of_codes(HONE_UINT8, 1, &e, &y) == 0x33dd88d481c4816fu);
    eager_close(&e);
}

static void senseless_programs_are_refused(void **state)
{
    static const struct {
        const char *program, *message;
    } table[] = {
        { "x0 sine =y0", "map: unknown word 'sine' in the program; "
                         "docs/ops.md lists the words" },
        { "0x10 =y0", "unknown word '0x10'" },
        { "nan =y0", "unknown word 'nan'" },
        { "x2 =y0", "'x2' in the program, but there are only 2" },
        { "x0 =y1", "'=y1' in the program, but there are only 1" },
        { "x0 =r8", "'=r8' in the program, but there are only 8" },
        { "x0 + =y0", "'+' (word 2) finds 1 of 2 operands on the stack" },
        { "x0 x1 =y0", "the program leaves 1 values on the stack" },
        { "r3 =y0", "'r3' is read before it is set" },
        { "x0 =r0", "the program sets no tensor" },
        { "", "the program sets no tensor" },
        { "x0 =x1", "unknown word '=x1'" },
        { "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "deeper than 16" },
        { "anoverlongwordanoverlongwordanover", "more than 31 letters" },
    };
    hone_id in[4], out, i;
    eager e;
    (void)state;
    eager_open(&e, HONE_F32);
    for (i = 0; i < 4; i++)
        in[i] = eager_new(&e, hone_type_of(HONE_F32, 1, 1, 1));
    out = eager_new(&e, hone_type_of(HONE_F32, 1, 1, 1));
    for (i = 0; i < (hone_id)(sizeof table / sizeof *table); i++) {
        const hone_attr attrs[] = { { "program", 0, table[i].program },
                                    { "scalars", 2, NULL },
                                    { "reads", 2, NULL } };
        hone_err err = { HONE_OK, "" };
        assert_int_equal(eager_emit(&e.builder, "map", NULL, attrs, 3, in, 4,
                                    &out, 1, &err), HONE_EINVAL);
        if (!strstr(err.msg, table[i].message))
            fail_msg("'%s': %s", table[i].program, err.msg);
    }
    eager_close(&e);
}

static void wrong_lists_are_refused(void **state)
{
    const hone_attr attrs[] = { { "program", 0, "x0 =y0" },
                                { "reads", 1, NULL },
                                { "guard", 1, NULL } };
    hone_id in[2], out[2];
    hone_err err;
    eager e;
    (void)state;
    eager_open(&e, HONE_F32);
    in[0] = out[0] = eager_new(&e, hone_type_of(HONE_F32, 1, 3, 1));
    in[1] = out[1] = eager_new(&e, hone_type_of(HONE_F32, 1, 4, 1));
    assert_int_equal(eager_emit(&e.builder, "map", NULL, attrs, 2, in, 2, out,
                                1, &err), HONE_EINVAL);
    assert_non_null(strstr(err.msg, "2 inputs and 1 outputs are not"));
    assert_int_equal(eager_emit(&e.builder, "map", NULL, attrs, 2, in + 1, 1,
                                out, 1, &err), HONE_EINVAL);
    assert_string_equal(err.msg,
                        "map: operand 0 is [4], it must have 3 elements");
    assert_int_equal(eager_emit(&e.builder, "map", NULL, attrs, 3, in, 1, out,
                                1, &err), HONE_EINVAL);
    assert_non_null(strstr(err.msg, "guard needs a scalar"));
    eager_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_does_its_work),
        cmocka_unit_test(a_list_of_tensors_is_one_call),
        cmocka_unit_test(blocks_of_eight_bits_are_those_of_bitsandbytes),
        cmocka_unit_test(senseless_programs_are_refused),
        cmocka_unit_test(wrong_lists_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
