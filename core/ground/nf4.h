/* SPDX-License-Identifier: MIT
 *
 * nf4.h -- numbers to the codes of hone/nf4.h, as bitsandbytes makes them on a
 * CPU: codes and scales of blocks are its bits. X begins with a block; only the
 * last block of a tensor may be shorter than 64.
 */
#ifndef HONE_NF4_MAKE_H
#define HONE_NF4_MAKE_H

#include "hone/nf4.h"

/* Of each block its largest magnitude, the scale. */
void hone_nf4_tops(float *top, const float *x, int64_t count);
/* The codes, two a byte; TOP as above. */
void hone_nf4_codes(uint8_t *codes, const float *top, const float *x,
                    int64_t count);
/* Scales to numbers of the map, 256 of them with one NESTED. MEAN: of all
 * the tensor's; the lowest number is hone_nf4_lowest(). */
void hone_nf4_nest(uint8_t *code, float *nested, const float *top,
                   int64_t blocks, float mean);

/* 16384 numbers, less at the end of a tensor, to all parts but the last. */
void hone_nf4_group(hone_storage, float mean, const float *x, int64_t count,
                    uint8_t *codes, void *absmax, float *nested);

/* A whole tensor: NUMBERS gives its elements, 16384 at a time, twice. */
typedef hone_status hone_nf4_numbers(void *self, int64_t from, int64_t count,
                                     float *to, hone_err *);
hone_status hone_nf4_make(hone_storage, int64_t count, hone_nf4_numbers *,
                          void *self, const hone_ptr *to, hone_err *);

#endif
