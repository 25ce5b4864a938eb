/* SPDX-License-Identifier: MIT
 *
 * nf4.c -- see nf4.h. Every weight of a model goes through here as it is
 * loaded: the inner loops have no branches, so that the compiler vectorises
 * them.
 */
#include "nf4.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = HONE_NF4_BLOCK, NEST = HONE_NF4_NEST, GROUP = BLOCK * NEST };

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* As integers floats without a sign compare alike. */
static float top_of(const float *x, int64_t n)
{
    uint32_t most = 0;
    float top;

    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        u &= 0x7fffffff;
        most = u > most ? u : most;
    }
    memcpy(&top, &most, sizeof top);
    return top;
}

void hone_nf4_tops(float *top, const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i += BLOCK) {
        float t = top_of(x + i, less(BLOCK, count - i));

        /* What bitsandbytes does to a block that is short. */
        top[i / BLOCK] = count - i < BLOCK && t < 1e-38f ? 1e-38f : t;
    }
}

/* How many of the 15 midpoints between the values lie below each number. */
static void find_codes(int32_t *code, const float *x)
{
    static const float value[16] = { HONE_NF4_VALUES };
    float middle[15];

    for (int k = 0; k < 15; k++)
        middle[k] = (value[k] + value[k + 1]) / 2;
    for (int i = 0; i < BLOCK; i++) {
        int32_t n = 0;

        for (int k = 0; k < 15; k++)
            n += x[i] > middle[k];
        code[i] = n;
    }
}

void hone_nf4_codes(uint8_t *codes, const float *top, const float *x,
                    int64_t count)
{
    float scaled[BLOCK];
    int32_t code[BLOCK];

    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t n = less(BLOCK, count - at);
        float t = top[at / BLOCK], inverse = 1.0f / (t > 1e-38f ? t : 1e-38f);

        if (n == BLOCK) {
            for (int i = 0; i < BLOCK; i++)
                scaled[i] = x[at + i] * inverse;
        } else { /* and the other half of the last byte is 0 */
            memset(scaled, 0, sizeof scaled);
            for (int64_t i = 0; i < n; i++)
                scaled[i] = x[at + i] / t;
        }
        find_codes(code, scaled);
        for (int64_t i = 0; i < n; i += 2)
            codes[(at + i) / 2] = (uint8_t)(code[i] << 4 | code[i + 1]);
    }
}

/* The number of the map that is nearest to X, which counts as the nearest of
 * 65,536 steps from -1 to 1: bitsandbytes has a table of so many. */
static uint8_t nearest(const float *map, float x)
{
    int step = (int)((x + 1.0f) * 32767.5f + 0.5f), low = 0, high = 255;
    double at = -1 + 2 * step / 65535.0;

    while (high - low > 1) {
        int middle = (low + high) / 2;
        if ((double)map[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return (uint8_t)((double)map[high] - at < at - (double)map[low] ? high
                                                                    : low);
}

void hone_nf4_nest(uint8_t *code, float *nested, const float *top,
                   int64_t blocks, float mean)
{
    float map[256], rest[NEST];

    for (int i = 0; i < 256; i++)
        map[i] = hone_nf4_map(i, hone_nf4_lowest());
    for (int64_t at = 0; at < blocks; at += NEST) {
        int64_t n = less(NEST, blocks - at);
        float most, inverse;

        for (int64_t i = 0; i < n; i++)
            rest[i] = top[at + i] - mean;
        nested[at / NEST] = most = top_of(rest, n);
        inverse = 1.0f / most;
        for (int64_t i = 0; i < n; i++)
            code[at + i] = inverse > 0 && inverse <= FLT_MAX
                               ? nearest(map, rest[i] * inverse) : 0;
    }
}

void hone_nf4_group(hone_storage s, float mean, const float *x, int64_t count,
                    uint8_t *codes, void *absmax, float *nested)
{
    float tops[NEST] = { 0 }, *top = s == HONE_NF4_PLAIN ? absmax : tops;

    hone_nf4_tops(top, x, count);
    hone_nf4_codes(codes, top, x, count);
    if (s != HONE_NF4_PLAIN)
        hone_nf4_nest(absmax, nested, top, (count + BLOCK - 1) / BLOCK, mean);
}

hone_status hone_nf4_make(hone_storage s, int64_t count,
                          hone_nf4_numbers *numbers, void *self,
                          const hone_ptr *to, hone_err *err)
{
    int64_t wide = s == HONE_NF4_PLAIN ? sizeof(float) : 1;
    float x[GROUP], tops[NEST] = { 0 }, *mean = to->part[3];
    double sum = 0;

    for (int64_t i = 0; mean && i < count; i += GROUP) {
        int64_t n = less(GROUP, count - i);

        hone_try(numbers(self, i, n, x, err));
        hone_nf4_tops(tops, x, n);
        for (int64_t k = 0; k * BLOCK < n; k++)
            sum += (double)tops[k];
    }
    if (mean) {
        mean[0] = (float)(sum / (double)((count + BLOCK - 1) / BLOCK));
        mean[1] = hone_nf4_lowest();
    }
    for (int64_t i = 0; i < count; i += GROUP) {
        int64_t n = less(GROUP, count - i);

        hone_try(numbers(self, i, n, x, err));
        hone_nf4_group(s, mean ? mean[0] : 0, x, n,
                       (uint8_t *)to->part[0] + i / 2,
                       (char *)to->part[1] + i / BLOCK * wide,
                       mean ? (float *)to->part[2] + i / GROUP : NULL);
    }
    return HONE_OK;
}
