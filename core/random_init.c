/* SPDX-License-Identifier: MIT
 *
 * random_init.c -- see random_init.h. Element e is lane e % 4 of draw e / 4;
 * normals are by Box and Muller, two from two uniforms.
 */
#include "random_init.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "rng.h"
#include "safetensors.h"

enum { BLOCK = 512 };

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

/* The four values of one draw. */
static void draw(hone_init init, uint64_t seed, uint64_t stream,
                 uint64_t index, double v[4])
{
    const double turn = 6.283185307179586;
    uint32_t r[4];

    hone_rng_draw(seed, stream, index, r);
    for (int i = 0; i < 4; i += 2) {
        double a = hone_rng_unit(r[i]), b = hone_rng_unit(r[i + 1]);
        if (init.rule == HONE_INIT_UNIFORM) {
            v[i] = init.spread * (2 * a - 1);
            v[i + 1] = init.spread * (2 * b - 1);
        } else {
            double radius = init.spread * sqrt(-2 * log(a));
            v[i] = radius * cos(turn * b);
            v[i + 1] = radius * sin(turn * b);
        }
    }
}

static void fill_block(double *to, hone_init init, uint64_t seed,
                       uint64_t stream, int64_t from, int count)
{
    double v[4];

    if (init.rule == HONE_INIT_ZEROS || init.rule == HONE_INIT_ONES) {
        for (int i = 0; i < count; i++)
            to[i] = init.rule == HONE_INIT_ONES;
        return;
    }
    for (int i = 0; i < count; i++) {
        uint64_t e = (uint64_t)from + (uint64_t)i;
        if (i == 0 || e % 4 == 0)
            draw(init, seed, stream, e / 4, v);
        to[i] = v[e % 4];
    }
}

hone_status hone_init_fill(void *to, hone_storage as, hone_init init,
                           int64_t seed, const char *name, int64_t from,
                           int64_t count)
{
    uint64_t stream = XXH64(name, strlen(name), 0);
    int64_t size = (int64_t)hone_parts(as)[0].bytes;
    double block[BLOCK];

    for (int64_t i = 0; i < count; i += BLOCK) {
        int n = (int)(count - i < BLOCK ? count - i : BLOCK);
        fill_block(block, init, (uint64_t)seed, stream, from + i, n);
        hone_try(hone_convert((char *)to + i * size, as, block, HONE_F64, n));
    }
    return HONE_OK;
}
