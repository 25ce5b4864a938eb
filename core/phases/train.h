/* SPDX-License-Identifier: MIT
 *
 * train.h -- the loop: steps, evaluations, reports, results. Works on a loaded
 * session and allocates nothing.
 */
#ifndef HONE_TRAIN_H
#define HONE_TRAIN_H

#include "session.h"

typedef struct hone_step_report {
    int64_t step; /* from 1 */
    double loss, grad_norm, lr, time_s;
    double flops; /* that it took, padding included */
    double scale; /* of gradients, in fp16, after the step; 0: there is none */
    int64_t rows, tokens, targets;
    int skipped;  /* loss or norm not finite: nothing was updated */
} hone_step_report;

/* Called after every step and every evaluation (EVAL_LOSS not NaN; REPORT has
 * the step alone then). A status other than HONE_OK ends the run; HONE_EINTR as
 * a signal does, behind the steps under way. */
typedef hone_status (*hone_watch)(void *self, const hone_step_report *,
                                  double eval_loss, int64_t eval_targets,
                                  hone_err *);

hone_status hone_train(hone_session *, hone_watch, void *self, hone_err *);
/* Mean loss over the held-out rows. */
hone_status hone_evaluate(hone_session *, double *loss, int64_t *targets,
                          hone_err *);

#endif
