/* SPDX-License-Identifier: MIT
 *
 * random_init.c -- see random_init.h. Element e is lane e % 4 of draw e / 4;
 * normals are by Box and Muller, two from two uniforms.
 */
#include "random_init.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "bits.h"
#include "rng.h"
#include "safetensors.h"

enum { DRAWS = 128, BLOCK = 4 * DRAWS };

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);

    return n >= k && !strcmp(text + n - k, end);
}

hone_init hone_init_rule(const char *name, int rank, double range)
{
    hone_init init = { HONE_INIT_NORMAL, range };

    if (ends_with(name, ".bias"))
        init.rule = HONE_INIT_ZEROS;
    else if (rank < 2)
        init.rule = HONE_INIT_ONES;
    return init;
}

hone_init hone_init_lora_a(int64_t in)
{
    hone_init init = { HONE_INIT_UNIFORM, 1 / sqrt((double)in) };

    return init;
}

hone_init hone_init_zeros(void)
{
    hone_init init = { HONE_INIT_ZEROS, 0 };

    return init;
}

/* Processors with wider registers run the same code, with the same results: no
 * product is fused with a sum (-ffp-contract=off). */
#if defined __x86_64__ && defined __GLIBC__ && !defined __clang__ &&           \
    !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define WIDE                                                                   \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3",           \
                                 "default")))
#else
#define WIDE
#endif

/* ln x of a number in (0, 1], to about an ulp: x = m 2^e with m in
 * [sqrt(1/2), sqrt(2)), and a polynomial in m - 1 (Cephes). */
static inline float log_of(float x)
{
    static const float p[9] = { 7.0376836292e-2f,  -1.1514610310e-1f,
                                1.1676998740e-1f,  -1.2420140846e-1f,
                                1.4249322787e-1f,  -1.6668057665e-1f,
                                2.0000714765e-1f,  -2.4999993993e-1f,
                                3.3333331174e-1f };
    uint32_t u = hone_bits_of(x) - 0x3f3504f3u;
    float e = (float)((int32_t)u >> 23);
    float m = hone_float_of((u & 0x7fffff) + 0x3f3504f3u) - 1, y = p[0];

    for (int i = 1; i < 9; i++)
        y = y * m + p[i];
    return m + (m * m * m * y - 0.5f * m * m) + e * 0.693147181f;
}

/* Of the angle 2 pi T, T in [0, 1]: the quarter that it is in, and polynomials
 * over what is left, at most an eighth of a turn to each side (Cephes). */
static inline void turn_to(float t, float *cosine, float *sine)
{
    int32_t quarter = (int32_t)(4 * t + 0.5f);
    float x = (4 * t - (float)quarter) * 1.57079633f, z = x * x;
    float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z -
               1.6666654611e-1f) * z * x + x;
    float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z +
               4.166664568298827e-2f) * z * z - 0.5f * z + 1;
    float even = quarter & 1 ? s : c, odd = quarter & 1 ? c : s;

    *cosine = (quarter + 1) & 2 ? -even : even;
    *sine = quarter & 2 ? -odd : odd;
}

/* Lane by lane, so that the loops are as wide as registers are. */
WIDE static void draw_normals(float *restrict to, float spread, uint64_t seed,
                              uint64_t stream, uint64_t index)
{
    uint32_t r[4][DRAWS];
    float lane[4][DRAWS];

    for (int i = 0; i < DRAWS; i++) {
        uint32_t q[4];

        hone_rng_draw(seed, stream, index + (uint64_t)i, q);
        for (int k = 0; k < 4; k++)
            r[k][i] = q[k];
    }
    for (int k = 0; k < 4; k += 2)
        for (int i = 0; i < DRAWS; i++) {
            float a = ((float)r[k][i] + 0.5f) * 0x1p-32f;
            float radius = spread * sqrtf(-2 * log_of(a)), c, s;

            turn_to((float)r[k + 1][i] * 0x1p-32f, &c, &s);
            lane[k][i] = radius * c;
            lane[k + 1][i] = radius * s;
        }
    for (int i = 0; i < DRAWS; i++)
        for (int k = 0; k < 4; k++)
            to[4 * i + k] = lane[k][i];
}

static void draw_uniform(float *to, double spread, uint64_t seed,
                         uint64_t stream, uint64_t index)
{
    for (int i = 0; i < DRAWS; i++) {
        uint32_t q[4];

        hone_rng_draw(seed, stream, index + (uint64_t)i, q);
        for (int k = 0; k < 4; k++)
            to[4 * i + k] = (float)(spread * (2 * hone_rng_unit(q[k]) - 1));
    }
}

hone_status hone_init_fill(void *to, hone_storage as, hone_init init,
                           int64_t seed, const char *name, int64_t from,
                           int64_t count)
{
    uint64_t stream = XXH64(name, strlen(name), 0), key = (uint64_t)seed;
    int64_t size = (int64_t)hone_parts(as)[0].bytes;
    float block[BLOCK];
    int normal = init.rule == HONE_INIT_NORMAL;

    for (int k = 0; k < BLOCK; k++)
        block[k] = init.rule == HONE_INIT_ONES;
    for (int64_t i = 0, n; i < count; i += n) {
        int skip = normal || init.rule == HONE_INIT_UNIFORM
                       ? (int)((from + i) % 4) : 0;
        uint64_t index = (uint64_t)(from + i) / 4;

        n = count - i < BLOCK - skip ? count - i : BLOCK - skip;
        if (normal)
            draw_normals(block, (float)init.spread, key, stream, index);
        else if (init.rule == HONE_INIT_UNIFORM)
            draw_uniform(block, init.spread, key, stream, index);
        hone_try(hone_convert((char *)to + i * size, as, block + skip, HONE_F32,
                              n));
    }
    return HONE_OK;
}
