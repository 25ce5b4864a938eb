/* SPDX-License-Identifier: MIT
 *
 * live.h -- the line that a person watches: loss, speed, time left. On a
 * terminal it overwrites itself; elsewhere a plain line now and then.
 */
#ifndef HONE_LIVE_H
#define HONE_LIVE_H

#include "train.h"

typedef struct hone_live {
    int64_t from, steps, bytes;
    double started_s, said_s, seconds;
    int64_t tokens;
    double flops, limit; /* done; what the device does a second, 0: unknown */
    int terminal;
    double eval_loss;
} hone_live;

/* FROM: steps that were done before. LIMIT: flops a second. */
void hone_live_start(hone_live *, int64_t from, int64_t steps, int64_t bytes,
                     double limit);
void hone_live_step(hone_live *, const hone_step_report *);
void hone_live_eval(hone_live *, int64_t step, double loss);

#endif
