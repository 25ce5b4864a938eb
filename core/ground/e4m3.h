/* SPDX-License-Identifier: MIT
 *
 * e4m3.h -- numbers of eight bits: e4m3, a sign, 4 bits of exponent with a bias
 * of 7, 3 of mantissa; no infinity, one NaN a sign, 448 the largest. A tensor
 * of them has one scale, so that its largest number becomes 448.
 */
#ifndef HONE_E4M3_H
#define HONE_E4M3_H

#include "hone/plugin.h"

#define HONE_E4M3_MOST 448.0f

float hone_e4m3_load(uint8_t code);
/* Codes of X[i] / SCALE, to nearest even; what is too large becomes 448. */
void hone_e4m3_codes(uint8_t *to, const float *x, float scale, int64_t count);
/* The larger of TOP and the magnitudes of X; a NaN counts as nothing. */
float hone_e4m3_top(float top, const float *x, int64_t count);
/* The scale of a tensor with this largest magnitude: never 0. */
float hone_e4m3_scale(float top);

#endif
