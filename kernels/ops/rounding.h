/* SPDX-License-Identifier: MIT
 *
 * rounding.h -- fp32 to bf16 with a probability that makes the mean right:
 * sixteen random bits are added below the last bit that stays, and what is
 * then below it is cut off. Element e of a tensor takes the bits e mod 8 of
 * draw e / 8 of Philox keyed by (seed, step, tensor): the same on every device
 * and however tensors are laid out.
 */
#ifndef HONE_ROUNDING_H
#define HONE_ROUNDING_H

#include <string.h>

#include "philox.h"

#define HONE_ROUNDING_BLOCK 8 /* elements that share a draw */

HONE_PHILOX_FN void hone_rounding_draw(hone_philox p, uint64_t block,
                                       uint32_t r[4])
{
    hone_philox_draw(p, 0, (uint32_t)(block >> 32), (uint32_t)block, r);
}

/* Those of element I of the block. */
HONE_PHILOX_FN uint32_t hone_rounding_bits(const uint32_t r[4], int i)
{
    return r[i / 2] >> i % 2 * 16 & 0xffffu;
}

/* What is not finite has no neighbour to go to: a NaN stays one. */
HONE_PHILOX_FN uint16_t hone_bf16_random(float f, uint32_t bits)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    if ((u & 0x7f800000u) == 0x7f800000u)
        return (uint16_t)(u >> 16 | ((u & 0x7fffffu) != 0) << 6);
    return (uint16_t)((u + bits) >> 16);
}

#endif
