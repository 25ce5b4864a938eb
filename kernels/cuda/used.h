/* SPDX-License-Identifier: MIT
 *
 * used.h -- see used.c.
 */
#ifndef HONE_CUDA_USED_H
#define HONE_CUDA_USED_H

#include <stdint.h>

/* Bytes of the GPU that are taken by anyone; -1: nobody says. */
int64_t cuda_used_bytes(int64_t index);

#endif
