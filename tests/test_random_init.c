/* SPDX-License-Identifier: MIT
 *
 * test_random_init.c -- the generator against published vectors; first values
 * have their distribution and do not depend on how they are drawn.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random_init.h"
#include "rng.h"
#include "safetensors.h"

/* The known answers of the authors' own Random123 for philox4x32-10. */
static void known_answers(void **state)
{
    static const struct {
        uint64_t seed, stream, index;
        uint32_t want[4];
    } table[] = {
        { 0, 0, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { ~0ull, ~0ull, ~0ull,
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { 0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88,
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    uint32_t r[4];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        hone_rng_draw(table[i].seed, table[i].stream, table[i].index, r);
        assert_memory_equal(r, table[i].want, sizeof r);
    }
}

enum { N = 1 << 20 };

static void normal(void **state)
{
    float *v = malloc(N * sizeof *v);
    double sum = 0, square = 0, fourth = 0, pairs = 0;

    (void)state;
    hone_init_fill(v, HONE_F32, hone_init_rule("a.weight", 2, 0.02), 7,
                   "a.weight", 0, N);
    for (int i = 0; i < N; i++) {
        double x = v[i] / 0.02;
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
        pairs += i ? x * v[i - 1] / 0.02 : 0;
    }
    assert_true(fabs(sum / N) < 5e-3);
    assert_true(fabs(square / N - 1) < 1e-2);
    assert_true(fabs(fourth / N - 3) < 0.1);
    assert_true(fabs(pairs / N) < 5e-3);
    free(v);
}

static void uniform(void **state)
{
    float *v = malloc(N * sizeof *v);
    double square = 0, most = 0;

    (void)state;
    hone_init_fill(v, HONE_F32, hone_init_lora_a(16), 7, "x", 0, N);
    for (int i = 0; i < N; i++) {
        square += (double)v[i] * v[i];
        most = fmax(most, fabs((double)v[i]));
    }
    assert_true(most <= 0.25 && most > 0.2499);
    assert_true(fabs(square / N - 0.0625 / 3) < 2e-4);
    free(v);
}

static void rules(void **state)
{
    float v[5] = { 9, 9, 9, 9, 9 };
    uint16_t half[3];

    (void)state;
    hone_init_fill(v, HONE_F32, hone_init_rule("q_proj.bias", 1, 0.02), 1, "b",
                   0, 3);
    assert_memory_equal(v, ((float[]){ 0, 0, 0, 9, 9 }), sizeof v);
    hone_init_fill(v, HONE_F32, hone_init_zeros(), 1, "B", 2, 5);
    assert_memory_equal(v, ((float[]){ 0, 0, 0, 0, 0 }), sizeof v);
    hone_init_fill(half, HONE_BF16, hone_init_rule("norm.weight", 1, 0.02), 1,
                   "n", 0, 3);
    assert_memory_equal(half, ((uint16_t[]){ 0x3f80, 0x3f80, 0x3f80 }), 6);
    assert_int_equal(hone_init_fill(v, HONE_I64, hone_init_zeros(), 1, "B", 0,
                                    1),
                     HONE_ENOSUP);
}

/* Drawn in pieces of odd sizes, and as bf16: the same values. */
static void in_pieces(void **state)
{
    hone_init init = hone_init_rule("w", 2, 1);
    float whole[2000], pieces[2000];
    uint16_t half[2000], rounded[2000];

    (void)state;
    hone_init_fill(whole, HONE_F32, init, 3, "w", 0, 2000);
    for (int at = 0, n = 1; at < 2000; at += n, n = n * 3 % 101) {
        n = n < 2000 - at ? n : 2000 - at;
        hone_init_fill(pieces + at, HONE_F32, init, 3, "w", at, n);
    }
    assert_memory_equal(whole, pieces, sizeof whole);
    hone_init_fill(half, HONE_BF16, init, 3, "w", 0, 2000);
    hone_convert(rounded, HONE_BF16, whole, HONE_F32, 2000);
    for (int i = 0; i < 2000; i++)
        assert_true(abs(half[i] - rounded[i]) <= 1);
}

static void keys_matter(void **state)
{
    hone_init init = hone_init_lora_a(4);
    float a[8], b[8];

    (void)state;
    hone_init_fill(a, HONE_F32, init, 3, "w", 0, 8);
    hone_init_fill(b, HONE_F32, init, 4, "w", 0, 8);
    assert_memory_not_equal(a, b, sizeof a);
    hone_init_fill(b, HONE_F32, init, 3, "v", 0, 8);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers), cmocka_unit_test(normal),
        cmocka_unit_test(uniform),       cmocka_unit_test(rules),
        cmocka_unit_test(in_pieces),     cmocka_unit_test(keys_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
