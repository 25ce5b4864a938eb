/* SPDX-License-Identifier: MIT
 *
 * test_nf4_codes.c -- the quantiser of nf4 against golden/nf4.txt, which
 * tests/parity/nf4.py writes with bitsandbytes. Six lines a tensor behind its
 * count: codes, second codes, scales of blocks, second scales, offset, and
 * every 61st number decoded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nf4.h"

enum { MOST = 32768, LINE = 4 * MOST };

static char line[LINE];
static float x[MOST];

/* As weights() of the script. */
static float weight(int64_t i)
{
    uint32_t u = (uint32_t)((uint64_t)i * 2654435761u);
    double d = (double)(u >> 8) / 16777216 - 0.5;

    return (float)(d * d * d * (1 + (double)(i / 64 % 7)));
}

static void next(FILE *f)
{
    assert_non_null(fgets(line, LINE, f));
    line[strcspn(line, "\n")] = '\0';
}

static void check_bytes(FILE *f, const uint8_t *got, int64_t count)
{
    next(f);
    assert_int_equal(strlen(line), 2 * count);
    for (int64_t i = 0; i < count; i++) {
        char byte[3] = { line[2 * i], line[2 * i + 1], '\0' };

        if (got[i] != strtoul(byte, NULL, 16))
            fail_msg("byte %lld is %02x, not %s", (long long)i, got[i], byte);
    }
}

static void read_floats(FILE *f, float *to, int64_t count)
{
    char *at = line;

    next(f);
    for (int64_t i = 0; i < count; i++)
        to[i] = strtof(at, &at);
    assert_string_equal(at, "");
}

static hone_status numbers(void *self, int64_t from, int64_t count, float *to,
                           hone_err *err)
{
    (void)self;
    (void)err;
    for (int64_t i = 0; i < count; i++)
        to[i] = weight(from + i);
    return HONE_OK;
}

static int32_t bits(float f)
{
    int32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

static void check_tensor(FILE *f, int64_t n)
{
    static uint8_t codes[MOST / 2], second[MOST / 64];
    static float tops[MOST / 64], want[MOST / 61 + 1];
    float nested[2], mean[2], own[2];
    int64_t blocks = (n + 63) / 64, groups = (blocks + 255) / 256;
    hone_ptr p = { { codes, second, nested, mean } };
    long at = ftell(f);

    assert_true(n <= MOST);
    assert_int_equal(hone_nf4_make(HONE_NF4, n, numbers, NULL, &p, NULL), 0);
    memcpy(own, mean, sizeof own);
    check_bytes(f, codes, (n + 1) / 2);
    next(f);
    hone_nf4_tops(tops, x, n);
    read_floats(f, want, blocks);
    assert_memory_equal(tops, want, (size_t)blocks * sizeof *tops);
    next(f);
    read_floats(f, mean, 1);
    /* Their sum is in fp32: with their mean all else is theirs to the bit. */
    if (abs(bits(own[0]) - bits(mean[0])) > 2)
        fail_msg("%lld: mean %.9g, not %.9g", (long long)n, (double)own[0], (double)mean[0]);
    hone_nf4_nest(second, nested, tops, blocks, mean[0]);
    fseek(f, at, SEEK_SET);
    next(f);
    check_bytes(f, second, blocks);
    next(f);
    read_floats(f, want, groups);
    assert_memory_equal(nested, want, (size_t)groups * sizeof *nested);
    next(f);
    read_floats(f, want, (n + 60) / 61);
    for (int64_t i = 0; i < n; i += 61)
        assert_true(hone_nf4_value(HONE_NF4, &p, i) == want[i / 61]);
    p.part[1] = tops;
    for (int64_t i = 0; i < n; i += 61) /* unquantised scales: as near */
        assert_true(hone_nf4_value(HONE_NF4_PLAIN, &p, i) - want[i / 61] <
                    0.02f);
}

static void test_golden(void **state)
{
    FILE *f = fopen(HONE_SOURCE "/tests/golden/nf4.txt", "r");
    int tensors = 0;

    (void)state;
    assert_non_null(f);
    for (int64_t i = 0; i < MOST; i++)
        x[i] = weight(i);
    while (fgets(line, LINE, f)) {
        check_tensor(f, strtoll(line, NULL, 10));
        tensors++;
    }
    assert_int_equal(tensors, 4);
    fclose(f);
}

/* What no model should have must do no harm. */
static void test_odd_numbers(void **state)
{
    static const float odd[] = { 0, 1e-42f, 3e38f, -3e38f };
    uint8_t codes[64], second[2];
    float nested[1], mean[2], values[128] = { 0 };
    const uint32_t nan = 0x7fc00000;
    hone_ptr p = { { codes, second, nested, mean } };

    (void)state;
    for (int k = 0; k < 5; k++) {
        for (int i = 0; i < 128; i++)
            values[i] = k < 4 ? odd[k] * (float)(i < 64) : 1;
        if (k == 4)
            memcpy(&values[3], &nan, sizeof nan);
        hone_nf4_group(HONE_NF4, values[0] / 2, values, 128, codes, second,
                       nested);
    }
    for (int i = 0; i < 128; i++)
        values[i] = 0;
    mean[0] = 0;
    mean[1] = hone_nf4_lowest();
    hone_nf4_group(HONE_NF4, 0, values, 128, codes, second, nested);
    for (int i = 0; i < 128; i++)
        assert_true(hone_nf4_value(HONE_NF4, &p, i) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_odd_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
