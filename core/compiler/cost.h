/* SPDX-License-Identifier: MIT
 *
 * cost.h -- how long a compiled program takes on a card: a walk over its nodes,
 * each as long as its arithmetic or its memory traffic takes, whichever is
 * more. A pure function of the two; nothing is run. docs/memory.md says how
 * near it comes.
 */
#ifndef HONE_COST_H
#define HONE_COST_H

#include "card.h"
#include "program.h"

/* Where the time goes; seconds is the sum of the others. */
typedef struct hone_cost {
    double seconds;
    double products, attention; /* bound by arithmetic */
    double memory;              /* bound by reading and writing */
    double launch;              /* between kernels */
    double wait;                /* for copies on the side stream */
} hone_cost;

/* Seconds of one run; 0: the card does not say enough. */
double hone_program_seconds(const hone_program *, const hone_card *);
hone_cost hone_program_cost(const hone_program *, const hone_card *);

/* A step: so many micro-batches of each size on average, and what is done
 * once. Programs without a name count nothing. */
typedef struct hone_step_programs {
    const hone_program *micro; /* [buckets] */
    const double *runs;        /* [buckets] of each, a step */
    uint32_t buckets;
    const hone_program *once[4]; /* NULL: none */
} hone_step_programs;
hone_cost hone_step_cost(const hone_step_programs *, const hone_card *);

#endif
