/* SPDX-License-Identifier: MIT
 *
 * test_e4m3.c -- e4m3: every code, ties, subnormals, saturation, and that each
 * rounded number is the nearest there is.
 */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "e4m3.h"

static uint8_t code(float x)
{
    uint8_t c;

    hone_e4m3_codes(&c, &x, 1.0f, 1);
    return c;
}

static void every_code_comes_back(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        float x = hone_e4m3_load((uint8_t)c);

        if ((c & 0x7f) == 0x7f)
            assert_true(isnan(x));
        assert_int_equal(code(x), c);
    }
    assert_true(hone_e4m3_load(0x7e) == 448.0f);
    assert_true(hone_e4m3_load(0x01) == 0x1p-9f);
    assert_true(hone_e4m3_load(0x38) == 1.0f);
    assert_true(hone_e4m3_load(0x88) == -0x1p-6f);
}

static void ties_go_to_even(void **state)
{
    (void)state;
    for (int c = 0; c < 0x7e; c++) {
        float low = hone_e4m3_load((uint8_t)c);
        float high = hone_e4m3_load((uint8_t)(c + 1));
        float middle = (low + high) / 2; /* exact: one more bit */

        assert_int_equal(code(middle), c + (c & 1));
        assert_int_equal(code(nextafterf(middle, 0)), c);
        assert_int_equal(code(nextafterf(middle, 1000)), c + 1);
        assert_int_equal(code(-middle), 0x80 | (c + (c & 1)));
    }
}

static void too_large_is_the_largest(void **state)
{
    (void)state;
    assert_int_equal(code(449.0f), 0x7e);
    assert_int_equal(code(464.0f), 0x7e);
    assert_int_equal(code(3e38f), 0x7e);
    assert_int_equal(code(INFINITY), 0x7e);
    assert_int_equal(code(-INFINITY), 0xfe);
    assert_int_equal(code(1e-30f), 0);
    assert_int_equal(code(-1e-44f), 0x80);
    assert_int_equal(code(NAN) & 0x7f, 0x7f);
}

static void scales_fit_the_largest(void **state)
{
    float x[1000];
    uint8_t c[1000];
    float top, scale;

    (void)state;
    for (int i = 0; i < 1000; i++)
        x[i] = sinf((float)i) * 0.07f;
    x[7] = NAN;
    x[9] = -0.11f;
    top = hone_e4m3_top(0, x, 1000);
    assert_true(top == 0.11f);
    assert_true(hone_e4m3_top(1, x, 1000) == 1);
    scale = hone_e4m3_scale(top);
    hone_e4m3_codes(c, x, scale, 1000);
    assert_int_equal(c[9], 0xfe);
    for (int i = 0; i < 1000; i++)
        if (i != 7) /* half a unit of 3 bits, or of the subnormals */
            assert_true(fabsf(hone_e4m3_load(c[i]) * scale - x[i]) <=
                        fmaxf(fabsf(x[i]) / 16, scale * 0x1p-10f) * 1.0001f);
    assert_true(hone_e4m3_scale(0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_comes_back),
        cmocka_unit_test(ties_go_to_even),
        cmocka_unit_test(too_large_is_the_largest),
        cmocka_unit_test(scales_fit_the_largest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
