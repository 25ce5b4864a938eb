/* SPDX-License-Identifier: MIT
 *
 * cache_write.c -- the rows of x become rows cache_at.. of the cache. Rows
 * beyond its end are left out: the last bucket may be longer than the text.
 */
#include "op.h"

REF(cache_write)
{
    view x = input(c, p, 0), cache = output(c, p, 0);
    int64_t first = ints(p, 1)[0], t, h;

    for (t = 0; t < x.rows && first + t < cache.rows; t++)
        for (h = 0; h < x.cols; h++)
            set(cache, (first + t) * x.cols + h, get(x, t * x.cols + h));
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    hone_try(want_rank(c, 0, "x", 2, err));
    hone_try(want_ints(c, 1, "cache_at", 1, err));
    hone_try(want_rank(c, 2, "cache", 2, err));
    hone_try(want_dim(c, 2, "cache", 1, c->type[0].dim[1], err));
    out[0] = c->type[2];
    return HONE_OK;
}

static void sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    int64_t room = c->type[2].dim[0] - c->type[0].dim[0];
    draw_ints(c, p, 1, 0, room > 0 ? room + 1 : 1, seed);
}

OP(cache_write, "rows into the cache", NULL, 0,
   .in = OPERANDS({ "x", HONE_ROWS | HONE_NO_GRAD },
                  { "cache_at", HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "cache", HONE_UPDATED }),
   .shape = shape, .sample = sample);

EXPORT_OPS(cache_write, &cache_write_component);

#endif
