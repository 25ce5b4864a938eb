/* SPDX-License-Identifier: MIT
 *
 * convert.c -- floating-point formats, see hone_convert() in safetensors.h.
 * Everything goes through a block of fp32, which holds F16 and BF16 exactly.
 * The loops have no branches, so that the compiler vectorises them; loads and
 * stores are by memcpy, for tensors in files need not be aligned.
 */
#include "safetensors.h"

#include <string.h>

#include "bits.h"

enum { BLOCK = 512 };

static void load_bf16(float *restrict to, const char *restrict from, int n)
{
    for (int i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, from + 2 * i, 2);
        to[i] = hone_float_of((uint32_t)h << 16);
    }
}

static void store_bf16(char *restrict to, const float *restrict from, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t u = hone_bits_of(from[i]);
        uint32_t nan = (u & 0x7fffffff) > 0x7f800000;
        uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
        uint16_t h = (uint16_t)(nan ? u >> 16 | 0x40 : rounded);
        memcpy(to + 2 * i, &h, 2);
    }
}

static void load_f16(float *restrict to, const char *restrict from, int n)
{
    for (int i = 0; i < n; i++) {
        uint16_t h;
        uint32_t u, bias = 112u << 23;
        float small;
        memcpy(&h, from + 2 * i, 2);
        u = (uint32_t)(h & 0x7fff);
        small = (float)(int32_t)u * 0x1p-24f;
        u = u < 0x400    ? hone_bits_of(small)
            : u < 0x7c00 ? (u << 13) + bias
                         : (u << 13) + 2 * bias;
        to[i] = hone_float_of(u | (uint32_t)(h & 0x8000) << 16);
    }
}

static void store_f16(char *restrict to, const float *restrict from, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t u = hone_bits_of(from[i]), a = u & 0x7fffffff;
        /* 0.5 has the ulp of subnormals: the addition rounds to it. */
        uint32_t small = hone_bits_of(hone_float_of(a) + 0.5f) - 0x3f000000;
        uint32_t normal = (a - (112u << 23) + 0xfff + (a >> 13 & 1)) >> 13;
        uint32_t r = a < 0x38800000    ? small
                     : a < 0x477ff000  ? normal
                     : a <= 0x7f800000 ? 0x7c00
                                       : (0x7e00 | (a >> 13 & 0x3ff));
        uint16_t h = (uint16_t)(r | (u >> 16 & 0x8000));
        memcpy(to + 2 * i, &h, 2);
    }
}

static void load_f64(float *restrict to, const char *restrict from, int n)
{
    for (int i = 0; i < n; i++) {
        double d;
        memcpy(&d, from + 8 * i, 8);
        to[i] = (float)d;
    }
}

/* Rounds to odd: a second rounding, to F16 or BF16, is then the only one. */
static void load_f64_odd(float *restrict to, const char *restrict from, int n)
{
    for (int i = 0; i < n; i++) {
        double d;
        float f;
        uint32_t u;
        memcpy(&d, from + 8 * i, 8);
        f = (float)d;
        u = hone_bits_of(f);
        if (d == d && (double)f != d) {
            u -= (double)hone_float_of(u & 0x7fffffff) > (d < 0 ? -d : d);
            u |= 1;
        }
        to[i] = hone_float_of(u);
    }
}

static void store_f64(char *restrict to, const float *restrict from, int n)
{
    for (int i = 0; i < n; i++) {
        double d = from[i];
        memcpy(to + 8 * i, &d, 8);
    }
}

static int is_float(hone_storage s)
{
    return s == HONE_F32 || s == HONE_F16 || s == HONE_BF16 || s == HONE_F64;
}

static void load(float *to, const char *from, hone_storage as, int odd, int n)
{
    if (as == HONE_F32)
        memcpy(to, from, (size_t)n * 4);
    else if (as == HONE_BF16)
        load_bf16(to, from, n);
    else if (as == HONE_F16)
        load_f16(to, from, n);
    else if (odd)
        load_f64_odd(to, from, n);
    else
        load_f64(to, from, n);
}

static void store(char *to, hone_storage as, const float *from, int n)
{
    if (as == HONE_F32)
        memcpy(to, from, (size_t)n * 4);
    else if (as == HONE_BF16)
        store_bf16(to, from, n);
    else if (as == HONE_F16)
        store_f16(to, from, n);
    else
        store_f64(to, from, n);
}

hone_status hone_convert(void *to, hone_storage to_as, const void *from,
                         hone_storage from_as, int64_t count)
{
    int64_t to_bytes = (int64_t)hone_parts(to_as)[0].bytes;
    int64_t from_bytes = (int64_t)hone_parts(from_as)[0].bytes;
    float block[BLOCK];

    if (to_as == from_as) {
        memcpy(to, from, (size_t)(count * to_bytes));
        return HONE_OK;
    }
    if (!is_float(to_as) || !is_float(from_as))
        return HONE_ENOSUP;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int n = (int)(count - i < BLOCK ? count - i : BLOCK);
        load(block, (const char *)from + i * from_bytes, from_as,
             to_as != HONE_F32, n);
        store((char *)to + i * to_bytes, to_as, block, n);
    }
    return HONE_OK;
}
