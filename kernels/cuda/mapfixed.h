/* SPDX-License-Identifier: MIT
 *
 * mapfixed.h -- the texts of the programs in mapfixed.cuh, with # for any
 * number.
 */
#ifndef HONE_CUDA_MAPFIXED_H
#define HONE_CUDA_MAPFIXED_H

#include <string.h>

#define MAP_ADAM_SCALARS 5
#define MAP_ADAM                                                               \
    "x0 s2 * =r0 y1 r0 # lerp =y1 y2 # * r0 # * r0 * + =y2 "                   \
    "y0 s3 y1 * y2 sqrt s4 / # + / - =y0"
#define MAP_ADAM_DECAY "y0 s1 # * y0 * - =y0 " MAP_ADAM

/* Whether PROGRAM is TEXT with numbers. */
static inline int map_is(const char *program, const char *text)
{
    for (; *text; text++) {
        size_t n = *text == '#' ? strspn(program, "0123456789.eE+-") : 1;

        if (n == 0 || (*text != '#' && *text != *program))
            return 0;
        program += n;
    }
    return *program == '\0';
}

#endif
