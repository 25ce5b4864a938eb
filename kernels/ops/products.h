/* SPDX-License-Identifier: MIT
 *
 * products.h -- the three products of a linear with w [O,I], as the references
 * of all its ops compute them.
 */
#ifndef HONE_OPS_PRODUCTS_H
#define HONE_OPS_PRODUCTS_H

#include "op.h"

/* y = scale * x w^T, and BIAS behind the scale if it is not NULL. */
static inline void product_y(view x, view w, const view *bias, view y,
                             real scale)
{
    int64_t t, o, i;

    for (t = 0; t < y.rows; t++)
        for (o = 0; o < y.cols; o++) {
            real sum = 0;
            for (i = 0; i < x.cols; i++)
                sum += get(x, t * x.cols + i) * get(w, o * x.cols + i);
            sum *= scale;
            if (bias)
                sum += get(*bias, o);
            put(y, t * y.cols + o, sum);
        }
}

/* dx = scale * dy w */
static inline void product_dx(view dy, view w, view dx, real scale)
{
    int64_t t, o, i;

    for (t = 0; t < dx.rows; t++)
        for (i = 0; i < dx.cols; i++) {
            real sum = 0;
            for (o = 0; o < dy.cols; o++)
                sum += get(dy, t * dy.cols + o) * get(w, o * dx.cols + i);
            put(dx, t * dx.cols + i, scale * sum);
        }
}

/* dw = scale * dy^T x */
static inline void product_dw(view dy, view x, view dw, real scale)
{
    int64_t t, o, i;

    for (o = 0; o < dw.rows; o++)
        for (i = 0; i < dw.cols; i++) {
            real sum = 0;
            for (t = 0; t < x.rows; t++)
                sum += get(dy, t * dy.cols + o) * get(x, t * x.cols + i);
            put(dw, o * dw.cols + i, scale * sum);
        }
}

#endif
