/* SPDX-License-Identifier: MIT
 *
 * order.h -- what the collators share: the rows of a step by falling length.
 * A heap sort, because qsort of the C library may allocate; ties go by index,
 * so that the order is one and the same everywhere.
 */
#ifndef HONE_COLLATORS_ORDER_H
#define HONE_COLLATORS_ORDER_H

#include <stdint.h>

static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Whether row A comes after row B. */
static inline int comes_after(const int32_t *lengths, int32_t a, int32_t b)
{
    return lengths[a] != lengths[b] ? lengths[a] < lengths[b] : a > b;
}

static inline void sift(int32_t *heap, int64_t at, int64_t n,
                        const int32_t *lengths)
{
    for (;;) {
        int64_t child = 2 * at + 1;
        int32_t row = heap[at];

        if (child >= n)
            return;
        if (child + 1 < n && comes_after(lengths, heap[child + 1], heap[child]))
            child++;
        if (!comes_after(lengths, heap[child], row))
            return;
        heap[at] = heap[child];
        heap[child] = row;
        at = child;
    }
}

/* ORDER [ROWS]: indices of the rows, the longest first. */
static inline void order_by_length(int32_t *order, const int32_t *lengths,
                                   int64_t rows)
{
    for (int64_t i = 0; i < rows; i++)
        order[i] = (int32_t)i;
    for (int64_t i = rows / 2; i-- > 0;)
        sift(order, i, rows, lengths);
    for (int64_t n = rows; n-- > 1;) {
        int32_t last = order[0];

        order[0] = order[n];
        order[n] = last;
        sift(order, 0, n, lengths);
    }
}

#endif
